"""Encodes pairs of texts into the arrays of `encoded`, once: a stream of batches, on all cores.

Texts are drawn as they are needed, and tokens are appended to files. So memory does not grow with
the text, apart from 8 bytes a pair if duplicates are dropped.
"""

import array
import collections
import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Int32

from transformer_jax.config import UNK_ID
from transformer_jax.data.encoded import (
  FORMAT,
  OTHER_CACHE,
  Counts,
  EncodedPairs,
  find_encoded,
  is_whole,
  write_counts,
)
from transformer_jax.data.filters import OFF, Duplicates, PairFilters, pair_hash
from transformer_jax.data.progress import Progress
from transformer_jax.data.workers import map_batches
from transformer_jax.files import StrPath, as_workdir_error, is_litter
from transformer_jax.interrupt import temporary_file

Encoder = Callable[[str], Sequence[int]]  # text -> token ids with EOS
Pair = tuple[str, str]  # source and target

_BATCH = 2000  # pairs that are encoded at once
_SMALL_DTYPE = np.dtype(np.uint16)  # of tokens that fit, else the larger one
_LARGE_DTYPE = np.dtype(np.int32)


class _Side(NamedTuple):
  """Token sequences of one side, one after another."""

  tokens: Int32[np.ndarray, " tokens"]
  lengths: Int32[np.ndarray, " pairs"]

  @classmethod
  def of(cls, tokens: array.array, lengths: array.array) -> Self:
    """Returns the side as arrays of numpy."""
    return cls(np.asarray(tokens, np.int32), np.asarray(lengths, np.int32))

  def only(self, is_kept: Bool[np.ndarray, " pairs"]) -> "_Side":
    """Returns the sequences that are marked."""
    return _Side(self.tokens[np.repeat(is_kept, self.lengths)], self.lengths[is_kept])


class _EncodedBatch(NamedTuple):
  """The pairs of a batch that are kept, and what was dropped."""

  num_read: int
  source: _Side
  target: _Side
  hashes: list[int]  # of the kept pairs, if duplicates are to be dropped
  dropped: collections.Counter[str]


@dataclasses.dataclass(frozen=True)
class PairEncoder:
  """Encodes pairs, a batch at a time, and drops those that are not to be used.

  With many pairs it goes to other processes, so it must be picklable.

  Attributes:
    encode_source, encode_target: text -> token ids with EOS.
    max_length: pairs with an empty or a longer side are dropped; None keeps every pair.
    filters: what else is dropped; duplicates are found later, among all batches.
  """

  encode_source: Encoder
  encode_target: Encoder
  max_length: int | None = None
  filters: PairFilters = OFF

  def __call__(self, pairs: Sequence[Pair]) -> _EncodedBatch:
    sources, source_lengths = array.array("i"), array.array("i")
    targets, target_lengths = array.array("i"), array.array("i")
    hashes = []
    dropped = collections.Counter()
    for source, target in pairs:
      source_tokens = self.encode_source(source)
      target_tokens = self.encode_target(target)
      lengths = (len(source_tokens), len(target_tokens))
      reason = self._why_dropped(source, target, lengths)
      if reason:
        dropped[reason] += 1
        continue
      sources.extend(source_tokens)
      targets.extend(target_tokens)
      source_lengths.append(lengths[0])
      target_lengths.append(lengths[1])
      if self.filters.drop_duplicates:
        hashes.append(pair_hash(source, target))
    source_side = _Side.of(sources, source_lengths)
    target_side = _Side.of(targets, target_lengths)
    return _EncodedBatch(len(pairs), source_side, target_side, hashes, dropped)

  def _why_dropped(self, source: str, target: str, lengths: tuple[int, int]) -> str | None:
    """Returns the reason to drop a pair, given its sides' tokens with EOS, or None."""
    if self.max_length is not None:
      if min(lengths) <= 1:
        return "with an empty side"
      if max(lengths) > self.max_length:
        return f"longer than {self.max_length} tokens"
    return self.filters.why_dropped(source, target, lengths)


def encode_pairs(
  pairs: Callable[[], Iterable[Pair]],
  encoder: PairEncoder,
  cache: StrPath,
  key: str,
  *,
  what: str = "encoding",
  count: Callable[[], int | None] = lambda: None,
  by_content: bool = False,
) -> EncodedPairs:
  """Encodes pairs, or finds them in the cache. A damaged entry of the cache is replaced.

  Args:
    pairs: function () -> iterable of (source, target) texts; called only if the cache lacks them.
    encoder: the PairEncoder.
    cache: the cache's folder.
    key: a string that changes with the texts and with what they are encoded by.
    what: name of the work, to show its progress.
    count: function () -> number of pairs, if it is known, to show its progress.
    by_content: an entry of the cache is read and compared with its checksums, even if its files
      have not changed since that was last done.

  Raises:
    WorkdirError: the cache cannot be read or written.
  """
  filters = [] if encoder.filters == OFF else [str(encoder.filters)]
  parts = [str(FORMAT), str(encoder.max_length), *filters, key]
  name = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:24]
  folder = pathlib.Path(cache) / name
  encoded = find_encoded(folder, by_content)
  if encoded is None:
    with _atomically(folder) as temporary, Progress(what, count()) as progress:
      _write(temporary, pairs(), encoder, progress)
    encoded = EncodedPairs(folder)
  return encoded


def _write(
  folder: pathlib.Path, pairs: Iterable[Pair], encoder: PairEncoder, progress: Progress
) -> None:
  """Encodes the pairs and writes the arrays and the counts."""
  dropped = collections.Counter()
  duplicates = Duplicates()
  with _SideWriter(folder, "source") as source_side, _SideWriter(folder, "target") as target_side:
    for batch in map_batches(encoder, _batches(pairs)):
      dropped += batch.dropped
      source, target = batch.source, batch.target
      if encoder.filters.drop_duplicates:
        is_new = duplicates.are_new(batch.hashes)
        source, target = source.only(is_new), target.only(is_new)
        if num_duplicates := len(is_new) - int(is_new.sum()):
          dropped["that came before"] += num_duplicates
      source_side.append(source)
      target_side.append(target)
      progress.add(batch.num_read)
  unknown = dict(source=source_side.unknown, target=target_side.unknown)
  write_counts(folder, Counts(source_side.num_sequences, dict(dropped), unknown))


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
  pairs = iter(pairs)
  while batch := list(itertools.islice(pairs, _BATCH)):
    yield batch


class _SideWriter:
  """A context that appends token sequences to the two files of a side."""

  def __init__(self, folder: pathlib.Path, side: str) -> None:
    self._tokens = _ArrayFile(folder / f"{side}.npy", _SMALL_DTYPE)
    self._offsets = _ArrayFile(folder / f"{side}_offsets.npy", np.dtype(np.int64))
    self._offsets.append(np.zeros(1, np.int64))
    self.num_sequences = 0
    self.unknown = 0  # UNK tokens

  def __enter__(self) -> Self:
    return self

  def append(self, side: _Side) -> None:
    """Appends sequences."""
    if side.tokens.max(initial=0) > np.iinfo(self._tokens.dtype).max:
      self._tokens = self._tokens.widened(_LARGE_DTYPE)
    self._offsets.append(self._tokens.length + np.cumsum(side.lengths, dtype=np.int64))
    self._tokens.append(side.tokens)
    self.num_sequences += len(side.lengths)
    self.unknown += int(np.count_nonzero(side.tokens == UNK_ID))

  def __exit__(self, kind: object, *_: object) -> None:
    if kind is None and not self._tokens.length:
      self._tokens = self._tokens.widened(_LARGE_DTYPE)  # as it was always written
    self._tokens.close()
    self._offsets.close()


class _ArrayFile:
  """A one-dimensional array in a .npy file, written from its beginning to its end."""

  def __init__(self, path: pathlib.Path, dtype: np.dtype) -> None:
    self.dtype = dtype
    self.length = 0
    self._path = path
    self._file = open(path, "w+b")
    self._write_header()
    self._start = self._file.tell()

  def append(self, values: np.ndarray) -> None:
    """Appends values, which fit the type."""
    self._file.write(values.astype(self.dtype).tobytes())
    self.length += len(values)

  def widened(self, dtype: np.dtype) -> "_ArrayFile":
    """Returns the file written again with another type of its values; this one is closed."""
    self.close()
    narrow_path = self._path.rename(self._path.with_suffix(".narrow"))
    wide = _ArrayFile(self._path, dtype)
    with open(narrow_path, "rb") as narrow:
      narrow.seek(self._start)
      while block := narrow.read(1 << 20):
        wide.append(np.frombuffer(block, self.dtype))
    narrow_path.unlink()
    return wide

  def close(self) -> None:
    """Writes the header, which has the length, and closes the file."""
    with self._file:
      self._file.seek(0)
      self._write_header()

  def _write_header(self) -> None:
    """Writes numpy's header; it has as many bytes for any length."""
    header = dict(descr=self.dtype.str, fortran_order=False, shape=(self.length,))
    np.lib.format.write_array_header_1_0(self._file, header)


@contextlib.contextmanager
def _atomically(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary folder, renamed in the end, so that a half-written one is never found.

  A signal removes it; what a killed process left is removed by the next one on this machine.
  `files.new_folder` does not serve. It refuses a folder that exists, which here may be a damaged
  one, or that of a faster process. It also fsyncs, which takes long for gigabytes; here, after a
  power failure, the checksums reveal what is missing.
  """
  beginning = f"encoding-{socket.gethostname()}"
  temporary = folder.with_name(f"{beginning}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
  with temporary_file(temporary):
    with as_workdir_error(folder.parent, OTHER_CACHE):
      folder.parent.mkdir(parents=True, exist_ok=True)
      for other in folder.parent.glob(f"{beginning}.*.tmp"):
        if is_litter(other.name.removeprefix(beginning)):
          shutil.rmtree(other, ignore_errors=True)
      temporary.mkdir()  # tempfile's would be closed to those who share the cache
    try:
      with as_workdir_error(folder, f"make room, or {OTHER_CACHE}"):
        yield temporary
        _rename(temporary, folder)
    finally:
      shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: pathlib.Path, folder: pathlib.Path) -> None:
  """Renames `temporary` to `folder`. A whole folder of that name, from a faster process, stays."""
  try:
    os.rename(temporary, folder)
  except OSError:
    if is_whole(folder):
      return
    damaged = temporary.with_name(f"{temporary.name}-damaged")
    os.rename(folder, damaged)
    os.rename(temporary, folder)
    shutil.rmtree(damaged, ignore_errors=True)
