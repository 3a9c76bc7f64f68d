"""Tokenizers as the settings ask for them, and as folders: their files, and tokenizer.json, which names the kind and each file's SHA-256."""

import hashlib
import json
import os
import pathlib
import secrets

from transformer_jax.data.linearization import linearize
from transformer_jax.data.parsing_tokenizer import ParsingTokenizer
from transformer_jax.data.tokenizer import SentencePieceTokenizer, SubwordNmtTokenizer, WordListTokenizer, most_frequent
from transformer_jax.data.trees import parse_tree
from transformer_jax.errors import DataError

_INDEX = "tokenizer.json"
_NO_LIMIT = 1 << 31  # every symbol that the training trees have
_KINDS = {cls.kind: cls for cls in (SentencePieceTokenizer, SubwordNmtTokenizer, WordListTokenizer, ParsingTokenizer)}


def train_tokenizer(data, texts, data_root="."):
  """The tokenizer that a DataConfig asks for, learned from an iterator of training texts of both languages."""
  return _KINDS[data.tokenizer].train(data, texts, data_root)


def train_parsing_tokenizer(data, pairs, data_root="."):
  """The ParsingTokenizer that a DataConfig asks for.

  Args:
    data: the DataConfig.
    pairs: a function () -> iterator of (words between spaces, tree on one line); called twice.
    data_root: folder that relative data paths start from.
  """
  words = train_tokenizer(data, (sentence for sentence, _ in pairs()), data_root)
  symbols = WordListTokenizer(most_frequent((linearize(parse_tree(tree), data.linearization) for _, tree in pairs()), _NO_LIMIT))
  return ParsingTokenizer(words, symbols)


def save_tokenizer(tokenizer, folder):
  """Writes the tokenizer's files; tokenizer.json, which makes the folder whole, comes last."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  sums = {}
  for name, content in tokenizer.files().items():
    _replace(folder / name, content)
    sums[name] = hashlib.sha256(content).hexdigest()
  _replace(folder / _INDEX, json.dumps(dict(kind=tokenizer.kind, sha256=sums), indent=1).encode())


def load_tokenizer(folder):
  """Reads a saved tokenizer.

  Raises:
    DataError: a file is missing or has changed since it was saved; names the file.
  """
  folder = pathlib.Path(folder)
  try:
    index = json.loads((folder / _INDEX).read_bytes())
    kind, sums = index["kind"], dict(index["sha256"])
    files = {name: (folder / name).read_bytes() for name in sums}
  except OSError as error:
    raise DataError(error.filename, f"cannot be read: {error.strerror}", "it belongs to the run's tokenizer: restore it") from None
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


def has_tokenizer(folder):
  """Whether a tokenizer was saved there."""
  return (pathlib.Path(folder) / _INDEX).exists()


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
