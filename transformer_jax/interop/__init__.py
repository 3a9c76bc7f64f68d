"""Runs in other systems' formats, and other systems' models as runs.

Floor 6; imports floors 0 to 5.

export        checks, then writes a folder, whole or not at all
checks        which runs a format can express; no jax
parameters    the parameters under names, each taken once; matrices as other libraries have them
ctranslate2, huggingface, safetensors     one file a format
readme        the README.md of an exported folder
import_run    reads a folder of another system, and makes a run of it
marian        Marian models as Hugging Face stores them
"""
