"""Reads a Marian model as transformers' `save_pretrained` writes it; OPUS-MT is published so."""

import pathlib

from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.marian import FILES as TOKENIZER_FILES
from transformer_jax.data.tokenizers.marian import MarianTokenizer
from transformer_jax.errors import CheckpointError, DataError
from transformer_jax.interop.imported import Imported
from transformer_jax.interop.marian_settings import (
  CONFIG,
  GENERATION,
  SAVE_PRETRAINED,
  TOKENIZER_CONFIG,
  MarianSettings,
)
from transformer_jax.interop.marian_tensors import MarianTensors

TENSORS = "model.safetensors"
FILES = (CONFIG, TENSORS, GENERATION, TOKENIZER_CONFIG, *TOKENIZER_FILES)


def read_marian(folder: pathlib.Path) -> Imported:
  """Reads a Marian model; writes nothing.

  Raises:
    ConfigError: its settings cannot be expressed; names the setting.
    CheckpointError: an array is missing, left over, of another shape, or not finite; names it.
    DataError: a file of its tokenizer is missing or damaged.
  """
  settings = MarianSettings(folder)
  settings.check()
  config = settings.config()
  tokenizer = _read_tokenizer(folder)
  settings.check_vocabulary(tokenizer.vocab_size)
  if not (folder / TENSORS).is_file():
    raise _no_tensors(folder)
  tensors = MarianTensors(folder / TENSORS, settings, tokenizer.marian_order())
  params = tensors.parameters()
  tensors.check_all_taken()
  config = config.replace(
    vocab_size=tokenizer.vocab_size,
    embedding_sharing=tensors.embedding_sharing,
    attention_bias=tensors.has_attention_bias,
    output_bias="output_bias" in params,
  )
  return Imported(config, tokenizer, params, [0], settings.notes())


def _read_tokenizer(folder: pathlib.Path) -> MarianTokenizer:
  files = {}
  for name in TOKENIZER_FILES:
    try:
      files[name] = (folder / name).read_bytes()
    except OSError as error:
      raise DataError(
        folder / name, f"cannot be read: {read_problem(error)}", "it belongs to the model"
      ) from None
  try:
    return MarianTokenizer(files)
  except DataError as error:  # the error names only the file
    raise DataError(folder / error.where, error.problem, "fetch or write it again") from None


def _no_tensors(folder: pathlib.Path) -> CheckpointError:
  path = folder / TENSORS
  if (folder / "pytorch_model.bin").exists():
    return CheckpointError(
      path,
      "is missing; pytorch_model.bin is a pickle, which may run any code and is not read",
      SAVE_PRETRAINED,
    )
  return CheckpointError(path, "is missing", SAVE_PRETRAINED)
