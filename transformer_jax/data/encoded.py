"""Encoded pairs as flat, memory-mapped arrays with offsets: read once, cut into batches many times."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np

from transformer_jax.errors import DataError, WorkdirError
from transformer_jax.strict_json import json_text

_FORMAT = 1  # part of every key: a new format makes new folders
_SIDES = ("source", "target")


@dataclasses.dataclass(frozen=True)
class Counts:
  """Pairs kept, and dropped by reason."""

  kept: int
  dropped: dict


class EncodedPairs:
  """Token sequences of both sides, EOS included; `source(i)` and `target(i)` are int32 arrays."""

  def __init__(self, folder):
    folder = pathlib.Path(folder)
    try:
      self._tokens = {side: np.load(folder / f"{side}.npy", mmap_mode="r", allow_pickle=False) for side in _SIDES}
      self._offsets = {side: np.load(folder / f"{side}_offsets.npy", allow_pickle=False) for side in _SIDES}
      self.counts = Counts(**json.loads((folder / "counts.json").read_text()))
    except (OSError, ValueError, TypeError, EOFError) as error:
      raise DataError(folder, f"encoded data cannot be read: {error}", "delete the folder: it is made again") from None
    self.source_lengths, self.target_lengths = (np.diff(self._offsets[side]) for side in _SIDES)

  def __len__(self):
    return self.counts.kept

  def source(self, index):
    """Source tokens of a pair."""
    return self._slice("source", index)

  def target(self, index):
    """Target tokens of a pair."""
    return self._slice("target", index)

  def _slice(self, side, index):
    start, end = self._offsets[side][index:index + 2]
    return self._tokens[side][start:end].astype(np.int32)


def encode_pairs(pairs, encode_source, encode_target, cache, key, max_length=None):
  """Encodes pairs, or finds them encoded in the cache.

  Args:
    pairs: a function () -> iterator of (source, target) texts; called only if they are not in the cache.
    encode_source, encode_target: text -> token ids with EOS.
    cache: the cache's folder.
    key: a string that changes with whatever the result depends on.
    max_length: pairs with an empty or a longer side are dropped; None keeps every pair.

  Returns:
    EncodedPairs.
  """
  folder = pathlib.Path(cache) / hashlib.sha256(f"{_FORMAT} {max_length} {key}".encode()).hexdigest()[:24]
  if not (folder / "counts.json").exists():
    _write_atomically(folder, pairs(), encode_source, encode_target, max_length)
  return EncodedPairs(folder)


def _write_atomically(folder, pairs, encode_source, encode_target, max_length):
  """Writes to a folder beside and renames it, so that a half-written one is never found."""
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix="encoding-", dir=folder.parent)
  except OSError as error:
    raise WorkdirError(folder.parent, f"cannot be written: {error.strerror}", "set TRANSFORMER_JAX_CACHE to a writable folder") from None
  try:
    _write(pathlib.Path(temporary), pairs, encode_source, encode_target, max_length)
    if folder.exists() and not (folder / "counts.json").exists():  # damaged by hand: a folder comes into being whole
      shutil.rmtree(folder)
    os.rename(temporary, folder)
  except OSError as error:
    if not (folder / "counts.json").exists():  # else another process was faster
      raise WorkdirError(folder, f"cannot be written: {error.strerror}", "make room, or set TRANSFORMER_JAX_CACHE") from None
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _write(folder, pairs, encode_source, encode_target, max_length):
  chunks = {side: [] for side in _SIDES}
  lengths = {side: [] for side in _SIDES}
  dropped = {}
  for texts in pairs:
    both = [encode(text) for encode, text in zip((encode_source, encode_target), texts, strict=True)]
    reason = _why_dropped(both, max_length)
    if reason:
      dropped[reason] = dropped.get(reason, 0) + 1
      continue
    for side, tokens in zip(_SIDES, both, strict=True):
      chunks[side].append(np.asarray(tokens, np.int32))
      lengths[side].append(len(tokens))
  for side in _SIDES:
    flat = np.concatenate(chunks[side]) if chunks[side] else np.empty(0, np.int32)
    np.save(folder / f"{side}.npy", flat.astype(np.uint16) if flat.size and flat.max() < 1 << 16 else flat)
    np.save(folder / f"{side}_offsets.npy", np.concatenate([[0], np.cumsum(lengths[side], dtype=np.int64)]).astype(np.int64))
  (folder / "counts.json").write_text(json_text(dict(kept=len(lengths["source"]), dropped=dropped)))


def _why_dropped(both, max_length):
  if max_length is None:
    return None
  if any(len(tokens) <= 1 for tokens in both):
    return "with an empty side"
  return f"longer than {max_length} tokens" if any(len(tokens) > max_length for tokens in both) else None
