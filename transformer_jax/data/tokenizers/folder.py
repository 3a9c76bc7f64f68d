"""Tokenizers as the settings ask for them, and as folders: their files, and tokenizer.json, which names the kind and each file's SHA-256."""

import hashlib
import itertools
import json
import os
import pathlib
import secrets

from transformer_jax.data.linearization import linearize
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.subwords import (
  SentencePieceTokenizer,
  SubwordNmtTokenizer,
  WordListTokenizer,
  most_frequent,
  no_text,
)
from transformer_jax.data.trees import parse_tree
from transformer_jax.errors import DataError
from transformer_jax.strict_json import json_text

_INDEX = "tokenizer.json"
_NO_LIMIT = 1 << 31  # every symbol that the training trees have
_KINDS = {
  cls.kind: cls
  for cls in (SentencePieceTokenizer, SubwordNmtTokenizer, WordListTokenizer, ParsingTokenizer)
}


def train_tokenizer(data, texts, data_root="."):
  """The tokenizer that a DataConfig asks for, learned from the training texts of both languages.

  Raises:
    DataError: there is no text, or too little for these settings.
  """
  texts = iter(texts)
  first = next((text for text in texts if text.strip()), None)
  if first is None:
    raise no_text(data)
  return _KINDS[data.tokenizer].train(data, itertools.chain([first], texts), data_root)


def train_parsing_tokenizer(data, pairs, data_root="."):
  """The ParsingTokenizer that a DataConfig asks for.

  Args:
    data: the DataConfig.
    pairs: a function () -> iterator of (words between spaces, tree on one line); called twice.
    data_root: folder that relative data paths start from.
  """
  words = train_tokenizer(data, (sentence for sentence, _ in pairs()), data_root)
  symbols = WordListTokenizer(
    most_frequent(
      (linearize(parse_tree(tree), data.linearization) for _, tree in pairs()), _NO_LIMIT
    )
  )
  return ParsingTokenizer(words, symbols)


def save_tokenizer(tokenizer, folder):
  """Writes the tokenizer's files; tokenizer.json, which makes the folder whole, comes last."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  sums = {}
  for name, content in tokenizer.files().items():
    _replace(folder / name, content)
    sums[name] = hashlib.sha256(content).hexdigest()
  _replace(folder / _INDEX, json_text(dict(kind=tokenizer.kind, sha256=sums), indent=1).encode())


def load_tokenizer(folder):
  """Reads a saved tokenizer.

  Raises:
    DataError: a file is missing or has changed since it was saved; names the file.
  """
  folder = pathlib.Path(folder)
  try:
    index = json.loads((folder / _INDEX).read_bytes())
    kind, sums = index["kind"], dict(index["sha256"])
    files = {name: _read(folder, name) for name in sums}
  except OSError as error:
    raise DataError(
      error.filename,
      f"cannot be read: {error.strerror or error}",
      "it belongs to the run's tokenizer: restore it",
    ) from None
  except (ValueError, KeyError, TypeError, RecursionError):
    raise DataError(folder / _INDEX, "is not a tokenizer's list of files", "restore it") from None
  for name, content in files.items():
    if hashlib.sha256(content).hexdigest() != sums[name]:
      raise DataError(folder / name, "has changed since the tokenizer was made", "restore it")
  if not isinstance(kind, str) or kind not in _KINDS:
    raise DataError(folder / _INDEX, f"names the unknown kind {kind!r}")
  try:
    return _KINDS[kind].from_files(files)
  except KeyError as error:
    raise DataError(folder / _INDEX, f"does not list {error.args[0]}", "restore it") from None


def _read(folder, name):
  """The bytes of a file that the index names."""
  path = folder / name
  if path.name != name or (os.path.exists(path) and not os.path.isfile(path)):
    raise DataError(folder / _INDEX, f"names {name!r}, which is no file beside it", "restore it")
  return path.read_bytes()


def has_tokenizer(folder):
  """Whether a tokenizer was saved there."""
  return os.path.exists(pathlib.Path(folder) / _INDEX)  # pathlib's raises in a folder closed to us


def fingerprint(tokenizer):
  """SHA-256 over the tokenizer's files."""
  total = hashlib.sha256(tokenizer.kind.encode())
  for name, content in sorted(tokenizer.files().items()):
    total.update(name.encode() + hashlib.sha256(content).digest())
  return total.hexdigest()


def _replace(path, content):
  # Of its own: hosts of a run may write the same file.
  temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
  temporary.write_bytes(content)
  os.replace(temporary, path)
