"""Runs in other systems' formats, and other systems' models as runs.

Floor 6; imports floors 0 to 5.

export        checks, then writes a folder, whole or not at all
checks        refuses runs that a format cannot express; no jax
parameters    parameters by name, each taken once; matrices in the layout of other libraries
ctranslate2, huggingface, safetensors     the formats of export
readme        the README.md of an exported folder
import_run    reads a folder of another system, and makes a run of it
marian        reads Marian models in Hugging Face's format
"""
