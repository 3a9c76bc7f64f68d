"""Files that tokenizers are learned from, and the error for text with nothing to learn."""

import pathlib

from transformer_jax.config import DataConfig
from transformer_jax.data.text import expand_files
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath


def one_file(name: str, data_root: StrPath, flag: str) -> pathlib.Path:
  """Returns the path of a setting that names one file.

  Raises:
    DataError: it names no file, or several.
  """
  paths = expand_files(name, data_root, flag)
  if len(paths) != 1:
    raise DataError(f"--{flag}={name}", f"names {len(paths)} files", "name one")
  return paths[0]


def no_text_error(data: DataConfig) -> DataError:
  """Returns the error for training text with nothing to learn from; it names the files."""
  if data.data_source == "text":
    settings = dict(train_source=data.train_source, train_target=data.train_target)
  elif data.data_source == "tfds":
    settings = dict(tfds_name=data.tfds_name, tfds_splits=data.tfds_splits)
  elif data.data_source == "huggingface":
    settings = dict(dataset=data.dataset, dataset_splits=data.dataset_splits)
  elif data.data_source == "treebank":
    settings = dict(
      treebank=data.treebank, train_sections=data.train_sections, train_trees=data.train_trees
    )
  else:
    settings = dict(data_source=data.data_source)
  return DataError(
    " ".join(f"--{name}={value}" for name, value in settings.items() if value),
    "the training text holds nothing but empty lines, white space, or lines beyond 1 MiB",
    "give other files",
  )
