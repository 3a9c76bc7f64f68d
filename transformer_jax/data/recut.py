"""Training pairs whose words are cut into sub-words anew in each epoch (BPE-dropout).

How a pair is cut is a pure function of the seed, the epoch and the pair's number. The text is not
read again: the sub-words of the one fixed cut, which `encoded` keeps, spell the words.
"""

import array
import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Integer

from transformer_jax.config import EOS_ID
from transformer_jax.data.bucketing import Lengths, Widths, assign_buckets
from transformer_jax.data.encoded import EncodedPairs
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.tokenizer import RandomCutter, SavableTokenizer

_SAMPLE = 1000  # pairs that the mean growth is measured on


class Cut(NamedTuple):
  """The tokens of consecutive pairs, one after another, and how many each side has."""

  source_lengths: Int32[np.ndarray, " pairs"]
  target_lengths: Int32[np.ndarray, " pairs"]
  source: Int32[np.ndarray, " tokens"]
  target: Int32[np.ndarray, " tokens"]


class Recutter:
  """Cuts pairs anew; it needs no other process.

  Args:
    plain: the pairs with their fixed cut.
    tokenizer: the run's. Of a parser's it is the words that are cut anew; a tree's symbols stay.
    rate: probability of leaving out a merge.
    seed: the run's.
  """

  def __init__(
    self, plain: EncodedPairs, tokenizer: SavableTokenizer, rate: float, seed: int
  ) -> None:
    self.plain = plain
    self.tokenizer = tokenizer
    self.rate = rate
    self.seed = seed
    self._source, self._target = _cutters(tokenizer)

  def cut(self, epoch: int, numbers: Iterable[int]) -> Cut:
    """Returns the pairs of these numbers as they are cut in an epoch."""
    lengths = array.array("i"), array.array("i")
    tokens = array.array("i"), array.array("i")
    for number in numbers:
      draw = random.Random(f"{self.seed} {epoch} {number}").random
      source = self._anew(self._source, self.plain.source(number), draw)
      target = self._anew(self._target, self.plain.target(number), draw)
      for side, sequence in enumerate((source, target)):
        lengths[side].append(len(sequence))
        tokens[side].extend(sequence)
    return Cut(*(np.asarray(part, np.int32) for part in (*lengths, *tokens)))

  def _anew(self, cutter, tokens, draw):
    if cutter is None:
      return tokens
    return [*cutter.cut_anew(tokens[:-1].tolist(), self.rate, draw), EOS_ID]

  def expected_lengths(self, max_length: int) -> tuple[Lengths, Lengths]:
    """Returns about as many tokens of each pair as a cut has; at least those of the fixed cut.

    Each side grows by the mean of a sample of pairs.
    """
    plain = self.plain
    step = math.ceil(len(plain) / _SAMPLE)
    sample = self.cut(0, range(0, len(plain), step))
    expected = []
    for lengths, cut in (
      (plain.source_lengths, sample.source_lengths),
      (plain.target_lengths, sample.target_lengths),
    ):
      growth = max(1.0, cut.sum() / lengths[::step].sum())
      grown = np.ceil(lengths * growth).astype(np.int64)
      expected.append(np.maximum(lengths, np.minimum(grown, max_length)))
    return expected[0], expected[1]


def _cutters(tokenizer: SavableTokenizer) -> tuple[RandomCutter | None, RandomCutter | None]:
  """Returns what cuts the sources anew, and what cuts the targets; None: they stay as they are."""
  is_parser = isinstance(tokenizer, ParsingTokenizer)
  cutter = tokenizer.words if is_parser else tokenizer
  if not isinstance(cutter, RandomCutter):
    raise TypeError(f"a tokenizer of the kind {tokenizer.kind} cannot cut at random")
  return cutter, None if is_parser else cutter


class RecutPairs:
  """The pairs of one epoch. Implements `pipeline.Pairs`.

  A pair whose cut is longer than `max_length`, or fits no bucket, keeps its fixed cut.

  Args:
    plain: the pairs with their fixed cut.
    cut: all of them as they are cut in this epoch.
    buckets: the widths that batches can have.
    max_length: the most tokens of a side.
  """

  source_lengths: Integer[np.ndarray, " pairs"]
  target_lengths: Integer[np.ndarray, " pairs"]

  def __init__(
    self, plain: EncodedPairs, cut: Cut, buckets: Sequence[Widths], max_length: int
  ) -> None:
    self._plain = plain
    self._cut = cut
    self._source_starts = np.cumsum(cut.source_lengths, dtype=np.int64) - cut.source_lengths
    self._target_starts = np.cumsum(cut.target_lengths, dtype=np.int64) - cut.target_lengths
    has_room = np.maximum(cut.source_lengths, cut.target_lengths) <= max_length
    bucket_of_pair = assign_buckets(cut.source_lengths, cut.target_lengths, buckets)
    self._is_cut: Bool[np.ndarray, " pairs"] = has_room & (bucket_of_pair < len(buckets))
    self.counts = plain.counts
    self.source_lengths = np.where(self._is_cut, cut.source_lengths, plain.source_lengths)
    self.target_lengths = np.where(self._is_cut, cut.target_lengths, plain.target_lengths)

  def __len__(self) -> int:
    return len(self._plain)

  def source(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the source tokens of a pair."""
    if not self._is_cut[index]:
      return self._plain.source(index)
    start = self._source_starts[index]
    return self._cut.source[start : start + self._cut.source_lengths[index]]

  def target(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the target tokens of a pair."""
    if not self._is_cut[index]:
      return self._plain.target(index)
    start = self._target_starts[index]
    return self._cut.target[start : start + self._cut.target_lengths[index]]

  def unknown_shares(self) -> dict[str, float]:
    """Returns side -> share of its tokens that are UNK in the fixed cut."""
    return self._plain.unknown_shares()
