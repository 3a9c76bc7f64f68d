"""Encoded pairs as flat, memory-mapped arrays with offsets: read once, cut into batches many times."""

import array
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import sys
import tempfile

import numpy as np

from transformer_jax.config import UNK_ID
from transformer_jax.errors import DataError, TransformerJaxError, WorkdirError
from transformer_jax.strict_json import json_text

_FORMAT = 2  # part of every key: a new format makes new folders
_SIDES = ("source", "target")
_FILES = tuple(f"{side}{part}.npy" for side in _SIDES for part in ("", "_offsets"))
_BLOCK = 1 << 20  # tokens that are held in memory, of each side


@dataclasses.dataclass(frozen=True)
class Counts:
  """Pairs kept, pairs dropped by reason, and the UNK tokens of each side among those kept."""

  kept: int
  dropped: dict
  unknown: dict


class EncodedPairs:
  """Token sequences of both sides, EOS included; `source(i)` and `target(i)` are int32 arrays."""

  def __init__(self, folder):
    folder = pathlib.Path(folder)
    try:
      self.counts = _checked_counts(folder)
      self._tokens = {
        side: np.load(folder / f"{side}.npy", mmap_mode="r", allow_pickle=False) for side in _SIDES
      }
      self._offsets = {
        side: np.load(folder / f"{side}_offsets.npy", allow_pickle=False) for side in _SIDES
      }
    except PermissionError as error:
      raise WorkdirError(
        error.filename,
        "encoded data cannot be read: Permission denied",
        "have its owner run chmod -R a+rX on the cache, or set "
        "TRANSFORMER_JAX_CACHE to a folder of your own",
      ) from None
    except (
      OSError,
      ValueError,
      TypeError,
      AttributeError,
      KeyError,
      EOFError,
      RecursionError,
    ) as error:
      raise DataError(
        folder, f"encoded data cannot be read: {error}", "delete the folder: it is made again"
      ) from None
    self.source_lengths, self.target_lengths = (np.diff(self._offsets[side]) for side in _SIDES)

  def __len__(self):
    return self.counts.kept

  def source(self, index):
    """Source tokens of a pair."""
    return self._slice("source", index)

  def target(self, index):
    """Target tokens of a pair."""
    return self._slice("target", index)

  def unknown_shares(self):
    """side -> share of its tokens that are UNK."""
    return {side: self.counts.unknown[side] / max(1, len(self._tokens[side])) for side in _SIDES}

  def _slice(self, side, index):
    start, end = self._offsets[side][index : index + 2]
    return self._tokens[side][start:end].astype(np.int32)


def _checked_counts(folder):
  """The Counts of a folder; ValueError if a file has not the SHA-256 that was written with it."""
  written = json.loads((folder / "counts.json").read_bytes())
  sums = written.pop("sha256")
  counts = Counts(**written)
  for name, digest in _sums(folder, counts).items():
    if sums[name] != digest:
      raise ValueError(f"{name} has changed since it was written")
  return counts


def _sums(folder, counts):
  """Name -> SHA-256, of the arrays' files and of the counts."""
  sums = {}
  for name in _FILES:
    with open(folder / name, "rb") as file:
      sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
  counted = json_text(dataclasses.asdict(counts), sort_keys=True)
  sums["counts"] = hashlib.sha256(counted.encode()).hexdigest()
  return sums


def encode_pairs(pairs, encode_source, encode_target, cache, key, max_length=None):
  """Encodes pairs, or finds them encoded in the cache; what is damaged there is made again.

  Args:
    pairs: a function () -> iterator of (source, target) texts; called only if they are not in the cache.
    encode_source, encode_target: text -> token ids with EOS.
    cache: the cache's folder.
    key: a string that changes with whatever the result depends on.
    max_length: pairs with an empty or a longer side are dropped; None keeps every pair.

  Returns:
    EncodedPairs.

  Raises:
    WorkdirError: the cache cannot be read or written.
  """
  folder = (
    pathlib.Path(cache) / hashlib.sha256(f"{_FORMAT} {max_length} {key}".encode()).hexdigest()[:24]
  )
  encoded = _found(folder)
  if encoded is None:
    _write_atomically(folder, pairs(), encode_source, encode_target, max_length)
    encoded = EncodedPairs(folder)
  return encoded


def _found(folder):
  """The EncodedPairs of a folder; None if it is not there, or damaged, which is said."""
  if not os.path.isdir(folder):
    return None
  try:
    return EncodedPairs(folder)
  except DataError as error:
    print(f"transformer-jax: {error.where}: {error.problem}; it is made again", file=sys.stderr)
    return None


def _write_atomically(folder, pairs, encode_source, encode_target, max_length):
  """Writes to a folder beside and renames it, so that a half-written one is never found."""
  temporary = folder.with_name(f"encoding-{secrets.token_hex(8)}")
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()  # not tempfile's, which is closed to those who share the cache
  except OSError as error:
    raise WorkdirError(
      folder.parent,
      f"cannot be written: {error.strerror or error}",
      "set TRANSFORMER_JAX_CACHE to a writable folder",
    ) from None
  try:
    _write(temporary, pairs, encode_source, encode_target, max_length)
    _put_in_place(temporary, folder)
  except OSError as error:
    raise WorkdirError(
      folder,
      f"cannot be written: {error.strerror or error}",
      "make room, or set TRANSFORMER_JAX_CACHE",
    ) from None
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary, folder):
  """Renames a folder. One that is there stays if it is whole: another process was faster."""
  try:
    os.rename(temporary, folder)
  except OSError:
    if _is_whole(folder):
      return
    damaged = temporary.with_name(f"{temporary.name}-damaged")
    os.rename(folder, damaged)
    os.rename(temporary, folder)
    shutil.rmtree(damaged, ignore_errors=True)


def _is_whole(folder):
  try:
    EncodedPairs(folder)
  except TransformerJaxError:
    return False
  return True


def _write(folder, pairs, encode_source, encode_target, max_length):
  dropped, encoders = {}, (encode_source, encode_target)
  with contextlib.ExitStack() as stack:
    sides = [_SideWriter(stack.enter_context(tempfile.TemporaryFile(dir=folder))) for _ in _SIDES]
    for texts in pairs:
      both = [encode(text) for encode, text in zip(encoders, texts, strict=True)]
      reason = _why_dropped(both, max_length)
      if reason:
        dropped[reason] = dropped.get(reason, 0) + 1
        continue
      for side, tokens in zip(sides, both, strict=True):
        side.add(tokens)
    for name, side in zip(_SIDES, sides, strict=True):
      side.save(folder / f"{name}.npy", folder / f"{name}_offsets.npy")
  unknown = {name: side.unknown for name, side in zip(_SIDES, sides, strict=True)}
  counts = Counts(len(sides[0]), dropped, unknown)
  written = dict(dataclasses.asdict(counts), sha256=_sums(folder, counts))
  (folder / "counts.json").write_text(json_text(written, indent=1))


class _SideWriter:
  """Takes the token sequences of a side: lengths stay in memory, tokens go to `file`."""

  def __init__(self, file):
    self._file = file
    self._block, self._lengths = array.array("i"), array.array("i")
    self._largest = 0
    self.unknown = 0  # UNK tokens, known after `save`

  def __len__(self):
    return len(self._lengths)

  def add(self, tokens):
    """Appends a sequence."""
    self._block.extend(tokens)
    self._lengths.append(len(tokens))
    if len(self._block) >= _BLOCK:
      self._flush()

  def save(self, path, offsets_path):
    """Writes all tokens, in two bytes each if they fit, and where each sequence begins and ends."""
    self._flush()
    lengths = np.asarray(self._lengths, np.int32)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    np.save(offsets_path, offsets)
    total = int(offsets[-1])
    dtype = np.dtype(np.uint16 if total and self._largest < 1 << 16 else np.int32)
    self._file.seek(0)
    with open(path, "wb") as file:
      header = dict(descr=dtype.str, fortran_order=False, shape=(total,))
      np.lib.format.write_array_header_1_0(file, header)
      while block := self._file.read(4 * _BLOCK):
        file.write(np.frombuffer(block, np.int32).astype(dtype).tobytes())

  def _flush(self):
    block = np.asarray(self._block, np.int32)
    self._largest = max(self._largest, block.max(initial=0))
    self.unknown += int(np.count_nonzero(block == UNK_ID))
    self._file.write(block.tobytes())
    self._block = array.array("i")


def _why_dropped(both, max_length):
  if max_length is None:
    return None
  if any(len(tokens) <= 1 for tokens in both):
    return "with an empty side"
  return (
    f"longer than {max_length} tokens" if any(len(tokens) > max_length for tokens in both) else None
  )
