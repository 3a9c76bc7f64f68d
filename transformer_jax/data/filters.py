"""Filters of training pairs, all of them off by default: what web text needs before it is used."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt64

from transformer_jax.config import DataConfig


@dataclasses.dataclass(frozen=True)
class PairFilters:
  """The filters that a DataConfig turns on."""

  max_length_ratio: float = 0.0
  drop_identical: bool = False
  drop_wordless: bool = False
  drop_duplicates: bool = False

  @classmethod
  def of(cls, data: DataConfig) -> "PairFilters":
    """Returns the filters of the settings that have the fields' names."""
    return cls(**{field.name: getattr(data, field.name) for field in dataclasses.fields(cls)})

  def why_dropped(self, source: str, target: str, lengths: tuple[int, int]) -> str | None:
    """Returns the reason to drop a pair, or None. Duplicates are found by `Duplicates`.

    Args:
      source, target: the texts.
      lengths: tokens of both sides, EOS included.
    """
    if self.drop_identical and source.strip() == target.strip():
      return "with identical sides"
    if self.drop_wordless and not (_has_word(source) and _has_word(target)):
      return "without a letter or digit"
    if self.max_length_ratio and max(lengths) > self.max_length_ratio * min(lengths):
      return f"beyond a length ratio of {self.max_length_ratio:g}"
    return None


OFF = PairFilters()


def _has_word(text: str) -> bool:
  return any(map(str.isalnum, text))


def pair_hash(source: str, target: str) -> int:
  """Returns 64 bits that pairs share only if they are equal, but for white space at the ends."""
  text = f"{source.strip()}\n{target.strip()}".encode("utf-8", "surrogatepass")
  return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Duplicates:
  """Finds hashes that came before, in 8 bytes for each.

  The hashes are kept in sorted runs. Runs of about the same length are merged, so there are few.
  Among 36 million pairs, the probability that any two share 64 bits by chance is 4e-5.
  """

  def __init__(self) -> None:
    self._runs: list[UInt64[np.ndarray, " hashes"]] = []  # the longest first

  def are_new(self, hashes: Sequence[int]) -> Bool[np.ndarray, " hashes"]:
    """Returns which hashes neither an earlier call had nor this one has before."""
    given = np.array(hashes, np.uint64)
    run, places = np.unique(given, return_index=True)
    is_new_in_run = np.ones(len(run), bool)
    for earlier in self._runs:
      is_new_in_run &= ~_are_in(run, earlier)
    is_new = np.zeros(len(given), bool)
    is_new[places[is_new_in_run]] = True
    self._keep(run[is_new_in_run])
    return is_new

  def _keep(self, run: UInt64[np.ndarray, " hashes"]) -> None:
    """Adds a sorted run, and merges those that are not longer than what comes after them."""
    while self._runs and len(self._runs[-1]) <= 2 * len(run):
      run = np.concatenate([self._runs.pop(), run])
      run.sort(kind="stable")  # it merges two sorted halves in linear time
    self._runs.append(run)


def _are_in(
  values: UInt64[np.ndarray, " values"], run: UInt64[np.ndarray, " run"]
) -> Bool[np.ndarray, " values"]:
  """Returns which values are in a sorted run."""
  if not len(run):
    return np.zeros(len(values), bool)
  places = np.searchsorted(run, values)
  return run[np.minimum(places, len(run) - 1)] == values
