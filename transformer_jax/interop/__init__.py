"""Models for other programs (floor 6): `export`.

export        checks, then writes a folder, whole or not at all
checks        which runs a format can express; no jax
parameters    the parameters under names, each taken once; matrices as other libraries have them
ctranslate2, huggingface, safetensors     one file a format
readme        the README.md of an exported folder
"""
