"""Runs in other systems' formats, and other systems' models as runs.

Floor 6; imports floors 0 to 5.

export        checks, then writes a folder, whole or not at all
checks        refuses runs that a format cannot express; no jax
parameters    parameters by name, each taken once; matrices in the layout of other libraries
ctranslate2, huggingface, safetensors     the formats of export
readme        the README.md of an exported folder
imported      a model that was read, as the parts of a run
marian        reads Marian models in Hugging Face's format: marian_settings and marian_tensors
folders       which folder holds which model; reads it, or loads it as a TrainedModel
import_run    makes a run of a model in such a folder
"""
