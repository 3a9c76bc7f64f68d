"""Learns the tokenizer that the settings name; saves tokenizers as folders and loads them.

A folder has the tokenizer's files, and tokenizer.json with its kind and each file's SHA-256.
"""

import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Iterable

from transformer_jax.config import DataConfig
from transformer_jax.data.linearization import linearize
from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.marian import MarianTokenizer
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.pieces import most_frequent
from transformer_jax.data.tokenizers.sentencepiece import SentencePieceTokenizer
from transformer_jax.data.tokenizers.subword_nmt import SubwordNmtTokenizer
from transformer_jax.data.tokenizers.tokenizer import SavableTokenizer, Tokenizer
from transformer_jax.data.tokenizers.training_text import no_text_error
from transformer_jax.data.tokenizers.word_list import WordListTokenizer
from transformer_jax.data.trees import parse_tree
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath, as_workdir_error, atomic_write
from transformer_jax.strict_json import json_text

_INDEX = "tokenizer.json"
_NO_LIMIT = 1 << 31  # keeps every symbol of the training trees
_LEARNED_KINDS = {
  "sentencepiece": SentencePieceTokenizer,
  "subword_nmt": SubwordNmtTokenizer,
  "segmented": WordListTokenizer,
}
_KINDS = {**_LEARNED_KINDS, "parsing": ParsingTokenizer, "marian": MarianTokenizer}


def train_tokenizer(data: DataConfig, texts: Iterable[str], data_root: StrPath = ".") -> Tokenizer:
  """Learns the tokenizer that a DataConfig names.

  Args:
    data: the DataConfig.
    texts: the training texts of both languages.
    data_root: folder that relative data paths start from.

  Raises:
    ConfigError: it is a kind that is not learned.
    DataError: there is no text, or too little for these settings.
  """
  if data.tokenizer not in _LEARNED_KINDS:
    raise ConfigError(
      f"--tokenizer={data.tokenizer}",
      "comes with an imported model and is not learned",
      f"use {' or '.join(_LEARNED_KINDS)}",
    )
  texts = iter(texts)
  first = next((text for text in texts if text.strip()), None)
  if first is None:
    raise no_text_error(data)
  return _LEARNED_KINDS[data.tokenizer].train(data, itertools.chain([first], texts), data_root)


def train_parsing_tokenizer(
  data: DataConfig, sentences: Iterable[str], trees: Iterable[str], data_root: StrPath = "."
) -> ParsingTokenizer:
  """Learns the ParsingTokenizer that a DataConfig names.

  Args:
    data: the DataConfig.
    sentences: those to learn the sub-words from: space-separated words.
    trees: all trees of the training data, each on one line.
    data_root: folder that relative data paths start from.
  """
  words = train_tokenizer(data, sentences, data_root)
  symbols = (linearize(parse_tree(tree), data.linearization) for tree in trees)
  return ParsingTokenizer(words, WordListTokenizer(most_frequent(symbols, _NO_LIMIT)))


def save_tokenizer(tokenizer: SavableTokenizer, folder: StrPath) -> None:
  """Writes the tokenizer's files. tokenizer.json comes last: without it there is no tokenizer.

  Several hosts of a run may write the same files at once.

  Raises:
    WorkdirError: the folder cannot be written.
  """
  folder = pathlib.Path(folder)
  with as_workdir_error(folder):
    folder.mkdir(parents=True, exist_ok=True)
  sums = {}
  for name, content in tokenizer.files().items():
    atomic_write(folder / name, content)
    sums[name] = hashlib.sha256(content).hexdigest()
  atomic_write(folder / _INDEX, json_text(dict(kind=tokenizer.kind, sha256=sums), indent=1))


def load_tokenizer(folder: StrPath) -> Tokenizer | ParsingTokenizer:
  """Reads a saved tokenizer.

  Raises:
    DataError: a file is missing or has changed since it was saved; names the file.
  """
  folder = pathlib.Path(folder)
  index_path = folder / _INDEX
  try:
    index = json.loads(index_path.read_bytes())
    kind = index["kind"]
    sums = dict(index["sha256"])
    files = {name: _read(folder, name) for name in sums}
  except OSError as error:
    raise DataError(
      error.filename,
      f"cannot be read: {read_problem(error)}",
      "it belongs to the run's tokenizer: restore it",
    ) from None
  except (ValueError, KeyError, TypeError, RecursionError):
    raise DataError(index_path, "is not a tokenizer's list of files", "restore it") from None
  for name, content in files.items():
    if hashlib.sha256(content).hexdigest() != sums[name]:
      raise DataError(folder / name, "has changed since the tokenizer was made", "restore it")
  if not isinstance(kind, str) or kind not in _KINDS:
    raise DataError(index_path, f"names the unknown kind {kind!r}")
  try:
    return tokenizer_of(kind, files)
  except KeyError as error:
    raise DataError(index_path, f"does not list {error.args[0]}", "restore it") from None


def tokenizer_of(kind: str, files: dict[str, bytes]) -> Tokenizer | ParsingTokenizer:
  """Returns the tokenizer of this kind and these files; KeyError if a file is missing."""
  return _KINDS[kind].from_files(files)


def _read(folder, name):
  """Returns the bytes of a file that the index names."""
  path = folder / name
  is_special = os.path.exists(path) and not os.path.isfile(path)
  if path.name != name or is_special:
    raise DataError(folder / _INDEX, f"names {name!r}, which is not a file beside it", "restore it")
  return path.read_bytes()


def has_tokenizer(folder: StrPath) -> bool:
  """Returns whether a tokenizer was saved there; False for a folder that we may not read."""
  return os.path.exists(pathlib.Path(folder) / _INDEX)  # pathlib's raises there


def fingerprint(tokenizer: SavableTokenizer) -> str:
  """Returns the SHA-256 of the tokenizer's files."""
  total = hashlib.sha256(tokenizer.kind.encode())
  for name, content in sorted(tokenizer.files().items()):
    total.update(name.encode() + hashlib.sha256(content).digest())
  return total.hexdigest()
