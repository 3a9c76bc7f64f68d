"""Runs in other systems' formats, and other systems' models as runs.

Floor 6; imports floors 0 to 5.

export        checks, then writes a folder, whole or not at all
checks        which runs a format can express; no jax
parameters    the parameters under names, each taken once; matrices as other libraries have them
ctranslate2, huggingface, safetensors     one file a format
readme        the README.md of an exported folder
imported      a model that was read, as the parts of a run
marian        reads Marian models as Hugging Face stores them
folders       which folder holds which model; reads it, or loads it as a TrainedModel
import_run    makes a run of a model in such a folder
"""
