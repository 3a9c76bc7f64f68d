"""Encoded pairs as flat, memory-mapped arrays: read here, made once by `encoding`."""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
from jaxtyping import Int32, Integer

from transformer_jax.data.fingerprints import file_sha256
from transformer_jax.errors import DataError, TransformerJaxError, WorkdirError
from transformer_jax.files import StrPath
from transformer_jax.strict_json import json_text

FORMAT = 2  # part of every key: a new format makes new folders
OTHER_CACHE = "set TRANSFORMER_JAX_CACHE to a writable folder"

_SIDES = ("source", "target")
_FILES = ("source.npy", "source_offsets.npy", "target.npy", "target_offsets.npy")
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
  """Token sequences of both sides, EOS included, from a folder that `encoding.encode_pairs` wrote.

  Args:
    folder: the folder.
    by_content: compare its files with their checksums, even if they have not changed since that
      was last done.

  Raises:
    DataError: the folder is damaged.
    WorkdirError: this user may not read it.
  """

  folder: pathlib.Path
  counts: Counts
  source_lengths: Integer[np.ndarray, " pairs"]  # tokens, EOS included
  target_lengths: Integer[np.ndarray, " pairs"]

  def __init__(self, folder: StrPath, by_content: bool = False) -> None:
    self.folder = folder = pathlib.Path(folder)
    self._tokens = {}
    self._offsets = {}
    try:
      self.counts = _checked_counts(folder, by_content)
      for side in _SIDES:
        self._tokens[side] = _mapped(folder / f"{side}.npy")
        self._offsets[side] = _mapped(folder / f"{side}_offsets.npy")
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
    self.source_lengths = np.diff(self._offsets["source"]).astype(np.int32)
    self.target_lengths = np.diff(self._offsets["target"]).astype(np.int32)

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


def _mapped(path: pathlib.Path) -> np.ndarray:
  """Returns the array of a file. The system reads it as it is used, and may forget it again."""
  return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def find_encoded(folder: pathlib.Path, by_content: bool = False) -> EncodedPairs | None:
  """Returns the pairs of a folder; None if it is missing, or damaged (which it reports)."""
  if not os.path.isdir(folder):
    return None
  try:
    return EncodedPairs(folder, by_content)
  except DataError as error:
    print(f"transformer-jax: {error.where}: {error.problem}; it is made again", file=sys.stderr)
    return None


def is_whole(folder: pathlib.Path) -> bool:
  """Returns whether a folder holds undamaged pairs."""
  try:
    EncodedPairs(folder)
  except TransformerJaxError:
    return False
  return True


def write_counts(folder: pathlib.Path, counts: Counts) -> None:
  """Writes counts.json, with the SHA-256 of the arrays, which are there already."""
  saved = dict(dataclasses.asdict(counts), sha256=_checksums(folder, counts))
  (folder / "counts.json").write_text(json_text(saved, indent=1))


def _checked_counts(folder, by_content):
  """Returns the Counts of a folder; ValueError if a file's SHA-256 is not the one saved with it."""
  saved = json.loads((folder / "counts.json").read_bytes())
  sums = saved.pop("sha256")
  counts = Counts(**saved)
  for name, digest in _checksums(folder, counts, by_content).items():
    if sums[name] != digest:
      raise ValueError(f"{name} has changed since it was written")
  return counts


def _checksums(folder, counts, by_content=False):
  """Returns name -> SHA-256, of the arrays' files and of the counts."""
  sums = {name: file_sha256(folder / name, by_content) for name in _FILES}
  counts_text = json_text(dataclasses.asdict(counts), sort_keys=True)
  sums["counts"] = hashlib.sha256(counts_text.encode()).hexdigest()
  return sums
