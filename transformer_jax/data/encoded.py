"""Encoded pairs as flat, memory-mapped arrays: encoded once, then cut into batches many times."""

import array
import dataclasses
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import numpy as np
from jaxtyping import Int32, Integer

from transformer_jax.config import UNK_ID
from transformer_jax.errors import DataError, TransformerJaxError, WorkdirError
from transformer_jax.files import StrPath, as_workdir_error
from transformer_jax.strict_json import json_text

Encoder = Callable[[str], Sequence[int]]  # text -> token ids with EOS

_FORMAT = 2  # part of every key: a new format makes new folders
_SIDES = ("source", "target")
_FILES = ("source.npy", "source_offsets.npy", "target.npy", "target_offsets.npy")
_BLOCK = 1 << 20  # tokens of a side held in memory before they are written
_OTHER_CACHE = "set TRANSFORMER_JAX_CACHE to a writable folder"
# What json and numpy raise for damaged files.
_UNREADABLE = (
  OSError,
  ValueError,
  TypeError,
  AttributeError,
  KeyError,
  EOFError,
  RecursionError,
)


@dataclasses.dataclass(frozen=True)
class Counts:
  """Pairs kept, pairs dropped by reason, and the UNK tokens of each side among the kept ones."""

  kept: int
  dropped: dict[str, int]
  unknown: dict[str, int]


class EncodedPairs:
  """Token sequences of both sides, EOS included, from a folder that `encode_pairs` wrote.

  Raises:
    DataError: the folder is damaged.
    WorkdirError: this user may not read it.
  """

  folder: pathlib.Path
  counts: Counts
  source_lengths: Integer[np.ndarray, " pairs"]  # tokens, EOS included
  target_lengths: Integer[np.ndarray, " pairs"]

  def __init__(self, folder: StrPath) -> None:
    self.folder = folder = pathlib.Path(folder)
    self._tokens = {}
    self._offsets = {}
    try:
      self.counts = _checked_counts(folder)
      for side in _SIDES:
        tokens = np.load(folder / f"{side}.npy", mmap_mode="r", allow_pickle=False)
        self._tokens[side] = tokens
        self._offsets[side] = np.load(folder / f"{side}_offsets.npy", allow_pickle=False)
    except PermissionError as error:
      raise WorkdirError(
        error.filename,
        "encoded data cannot be read: Permission denied",
        "have its owner run chmod -R a+rX on the cache, or set "
        "TRANSFORMER_JAX_CACHE to a folder of your own",
      ) from None
    except _UNREADABLE as error:
      raise DataError(
        folder, f"encoded data cannot be read: {error}", "delete the folder: it is made again"
      ) from None
    self.source_lengths = np.diff(self._offsets["source"])
    self.target_lengths = np.diff(self._offsets["target"])

  def __len__(self) -> int:
    return self.counts.kept

  def source(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the source tokens of a pair."""
    return self._slice("source", index)

  def target(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the target tokens of a pair."""
    return self._slice("target", index)

  def unknown_shares(self) -> dict[str, float]:
    """Returns side -> share of its tokens that are UNK."""
    return {side: self.counts.unknown[side] / max(1, len(self._tokens[side])) for side in _SIDES}

  def _slice(self, side, index):
    start, end = self._offsets[side][index : index + 2]
    return self._tokens[side][start:end].astype(np.int32)


def encode_pairs(
  pairs: Callable[[], Iterable[tuple[str, str]]],
  encode_source: Encoder,
  encode_target: Encoder,
  cache: StrPath,
  key: str,
  max_length: int | None = None,
) -> EncodedPairs:
  """Encodes pairs, or finds them in the cache. A damaged entry of the cache is replaced.

  Args:
    pairs: function () -> iterable of (source, target) texts; called only if the cache lacks them.
    encode_source, encode_target: text -> token ids with EOS.
    cache: the cache's folder.
    key: a string that changes with everything that the result depends on.
    max_length: pairs with an empty or a longer side are dropped; None keeps every pair.

  Raises:
    WorkdirError: the cache cannot be read or written.
  """
  name = hashlib.sha256(f"{_FORMAT} {max_length} {key}".encode()).hexdigest()[:24]
  folder = pathlib.Path(cache) / name
  encoded = _find(folder)
  if encoded is None:
    _write_atomically(folder, pairs(), encode_source, encode_target, max_length)
    encoded = EncodedPairs(folder)
  return encoded


def _find(folder):
  """Returns the EncodedPairs of a folder; None if it is missing, or damaged (which it reports)."""
  if not os.path.isdir(folder):
    return None
  try:
    return EncodedPairs(folder)
  except DataError as error:
    print(f"transformer-jax: {error.where}: {error.problem}; it is made again", file=sys.stderr)
    return None


def _checked_counts(folder):
  """Returns the Counts of a folder; ValueError if a file's SHA-256 is not the one saved with it."""
  saved = json.loads((folder / "counts.json").read_bytes())
  sums = saved.pop("sha256")
  counts = Counts(**saved)
  for name, digest in _checksums(folder, counts).items():
    if sums[name] != digest:
      raise ValueError(f"{name} has changed since it was written")
  return counts


def _checksums(folder, counts):
  """Returns name -> SHA-256, of the arrays' files and of the counts."""
  sums = {}
  for name in _FILES:
    with open(folder / name, "rb") as file:
      sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
  counts_text = json_text(dataclasses.asdict(counts), sort_keys=True)
  sums["counts"] = hashlib.sha256(counts_text.encode()).hexdigest()
  return sums


def _write_atomically(folder, pairs, encode_source, encode_target, max_length):
  """Writes to a temporary folder and renames it, so that a half-written one is never found.

  `files.new_folder` does not serve. It refuses a folder that exists, which here may be a damaged
  one, or that of a faster process. It also fsyncs, which takes long for gigabytes; here, after a
  power failure, the checksums reveal what is missing.
  """
  temporary = folder.with_name(f"encoding-{secrets.token_hex(8)}")
  with as_workdir_error(folder.parent, _OTHER_CACHE):
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary.mkdir()  # tempfile's would be closed to those who share the cache
  try:
    with as_workdir_error(folder, f"make room, or {_OTHER_CACHE}"):
      _write(temporary, pairs, encode_source, encode_target, max_length)
      _rename(temporary, folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary, folder):
  """Renames `temporary` to `folder`. A whole folder of that name, from a faster process, stays."""
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
  """Encodes the pairs and writes the arrays and counts.json."""
  dropped = {}
  with (
    tempfile.TemporaryFile(dir=folder) as source_file,
    tempfile.TemporaryFile(dir=folder) as target_file,
  ):
    source_side = _SideWriter(source_file)
    target_side = _SideWriter(target_file)
    for source, target in pairs:
      source_tokens = encode_source(source)
      target_tokens = encode_target(target)
      reason = _why_dropped(len(source_tokens), len(target_tokens), max_length)
      if reason:
        dropped[reason] = dropped.get(reason, 0) + 1
        continue
      source_side.add(source_tokens)
      target_side.add(target_tokens)
    source_side.save(folder / "source.npy", folder / "source_offsets.npy")
    target_side.save(folder / "target.npy", folder / "target_offsets.npy")
  unknown = dict(source=source_side.unknown, target=target_side.unknown)
  counts = Counts(len(source_side), dropped, unknown)
  saved = dict(dataclasses.asdict(counts), sha256=_checksums(folder, counts))
  (folder / "counts.json").write_text(json_text(saved, indent=1))


def _why_dropped(source_length, target_length, max_length):
  """Returns the reason to drop a pair, given its sides' tokens with EOS, or None."""
  if max_length is None:
    return None
  if min(source_length, target_length) <= 1:
    return "with an empty side"
  if max(source_length, target_length) > max_length:
    return f"longer than {max_length} tokens"
  return None


class _SideWriter:
  """Collects the token sequences of a side: the lengths in memory, the tokens in `file`."""

  def __init__(self, file: IO[bytes]) -> None:
    self._file = file
    self._block = array.array("i")
    self._lengths = array.array("i")
    self._largest = 0
    self.unknown = 0  # UNK tokens, complete after `save`

  def __len__(self) -> int:
    return len(self._lengths)

  def add(self, tokens: Sequence[int]) -> None:
    """Appends a sequence."""
    self._block.extend(tokens)
    self._lengths.append(len(tokens))
    if len(self._block) >= _BLOCK:
      self._flush()

  def save(self, path: pathlib.Path, offsets_path: pathlib.Path) -> None:
    """Writes all tokens, in two bytes each if they fit, and the offsets of the sequences."""
    self._flush()
    lengths = np.asarray(self._lengths, np.int32)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    np.save(offsets_path, offsets)
    total = int(offsets[-1])
    fits_two_bytes = total > 0 and self._largest < 1 << 16
    dtype = np.dtype(np.uint16 if fits_two_bytes else np.int32)
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
