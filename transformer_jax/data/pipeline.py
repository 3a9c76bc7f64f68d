"""Endless batches from any position: the only state of the data is (epoch, batch)."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Int32, Integer

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID
from transformer_jax.data.bucketing import (
  Lengths,
  Widths,
  assign_buckets,
  choose_buckets,
  plan_epoch,
  rows_per_batch,
)
from transformer_jax.data.encoded import Counts, EncodedPairs
from transformer_jax.data.planning import EpochPlan, EpochPlans
from transformer_jax.errors import DataError

# From the number of a batch's rows to those that this process builds, such as `parallel.own_rows`;
# they may go beyond the batch, which is padding. `range` itself: all of them.
OwnRows = Callable[[int], range]
Tokens = Sequence[int] | Int32[np.ndarray, " tokens"]


@dataclasses.dataclass(frozen=True)
class Batch:
  """Token ids padded with PAD: the rows of this process. The last rows may be padding only."""

  source_BS: Int32[np.ndarray, "B S"]
  target_BT: Int32[np.ndarray, "B T"]


class Pairs(Protocol):
  """Encoded pairs: `EncodedPairs`, or a part of them such as `FittingPairs`."""

  counts: Counts
  source_lengths: Integer[np.ndarray, " pairs"]  # tokens, EOS included
  target_lengths: Integer[np.ndarray, " pairs"]

  def __len__(self) -> int: ...

  def source(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the source tokens of a pair."""
    ...

  def target(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the target tokens of a pair."""
    ...

  def unknown_shares(self) -> dict[str, float]:
    """Returns side -> share of its tokens that are UNK."""
    ...


class Cuts(Protocol):
  """Pairs that are cut into sub-words anew in each epoch: `recut_ahead.EpochCuts`."""

  def expected_lengths(self) -> tuple[Lengths, Lengths]:
    """Returns about the tokens of each pair's sides; they do not depend on the epoch."""
    ...

  def pairs(self, epoch: int, buckets: Sequence[Widths]) -> Pairs:
    """Returns the pairs of an epoch; each fits one of the buckets."""
    ...


class FittingPairs:
  """EncodedPairs without those that have a side longer than `max_length` tokens."""

  counts: Counts
  source_lengths: Integer[np.ndarray, " pairs"]
  target_lengths: Integer[np.ndarray, " pairs"]

  def __init__(self, encoded: EncodedPairs, max_length: int) -> None:
    self._encoded = encoded
    longer_sides = np.maximum(encoded.source_lengths, encoded.target_lengths)
    self._rows = np.flatnonzero(longer_sides <= max_length)
    self.source_lengths = encoded.source_lengths[self._rows]
    self.target_lengths = encoded.target_lengths[self._rows]
    dropped = dict(encoded.counts.dropped)
    num_longer = len(encoded) - len(self._rows)
    if num_longer:
      dropped[f"longer than {max_length} tokens"] = num_longer
    self.counts = dataclasses.replace(encoded.counts, kept=len(self._rows), dropped=dropped)

  def __len__(self) -> int:
    return len(self._rows)

  def source(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the source tokens of a pair."""
    return self._encoded.source(self._rows[index])

  def target(self, index: int) -> Int32[np.ndarray, " tokens"]:
    """Returns the target tokens of a pair."""
    return self._encoded.target(self._rows[index])

  def unknown_shares(self) -> dict[str, float]:
    """Returns side -> share of its tokens that are UNK, the longer pairs included."""
    return self._encoded.unknown_shares()


class BatchStream:
  """Training batches in few shapes.

  The first batch has the largest shape, so that memory runs out at once or not at all.

  Args:
    encoded: the pairs.
    num_buckets: the most shapes allowed.
    batch_tokens: the most padded positions of a side in a batch.
    seed: it determines the order of the batches.
    position: `position` of an earlier stream over the same pairs, to go on from; None: the start.
    word_dropout_rate: share of the sources' tokens that UNK takes the place of; which ones is a
      pure function of seed and position.
    cuts: the same pairs, cut anew in each epoch; None: as they are encoded.
    own_rows: which rows of each batch to build.

  Raises:
    DataError: no pairs, or a position that these pairs do not have.
  """

  def __init__(
    self,
    encoded: Pairs,
    num_buckets: int,
    batch_tokens: int,
    seed: int,
    position: dict[str, int] | None = None,
    word_dropout_rate: float = 0.0,
    cuts: Cuts | None = None,
    own_rows: OwnRows = range,
  ) -> None:
    if not len(encoded):
      raise DataError("training data", "there are no pairs")
    if position is None:
      position = dict(epoch=0, batch=0)
    self._encoded = encoded
    self._batch_tokens = batch_tokens
    self._seed = seed
    self._word_dropout_rate = word_dropout_rate
    self._cuts = cuts
    self._own_rows = own_rows
    lengths = encoded.source_lengths, encoded.target_lengths
    if cuts is not None:
      lengths = cuts.expected_lengths()
    self._buckets = choose_buckets(*lengths, num_buckets)
    self._epoch = position["epoch"]
    self._batch = position["batch"]
    self._plans = EpochPlans(self._plan_epoch, len(encoded))
    self._bucket_of_pair = self._assigned()
    self._plan = self._begin_epoch()
    if self._batch > len(self._plan):
      raise DataError(
        "training data",
        f"has no position {position}: an epoch has {len(self._plan)} batches",
        "restore the data that the run began with",
      )

  @property
  def position(self) -> dict[str, int]:
    """The position of the next batch, {"epoch", "batch"}; a checkpoint keeps it as JSON."""
    return dict(epoch=self._epoch, batch=self._batch)

  @property
  def batches_in_epoch(self) -> int:
    """Batches that hold every pair once."""
    return len(self._plan)

  @property
  def tokens_in_epoch(self) -> tuple[int, int]:
    """Tokens of all sources and of all targets in this epoch, EOS included."""
    return int(self._encoded.source_lengths.sum()), int(self._encoded.target_lengths.sum())

  def next(self) -> Batch:
    """Returns this process's rows of the next Batch, and moves on."""
    if self._batch == len(self._plan):
      self._epoch += 1
      self._batch = 0
      self._plan = self._begin_epoch()
    if self._cuts is None and 2 * self._batch >= len(self._plan):
      self._plans.make_ahead(self._epoch + 1)
    bucket, rows = self._plan[self._batch]
    widths = self._buckets[bucket]
    own = self._own_rows(rows_per_batch(widths, self._batch_tokens))
    batch = make_batch(self._encoded, rows, widths, own)
    if self._word_dropout_rate:
      # The last number is there as numpy takes (1, 0) and (1, 0, 0) for the same seed.
      bits = np.random.PCG64((self._seed, self._epoch, self._batch, 1))
      bits.advance(own.start * widths[0])  # past the tokens of the rows before
      batch = drop_words(batch, self._word_dropout_rate, np.random.Generator(bits))
    self._batch += 1
    return batch

  def shapes(self) -> list[tuple[int, int, int]]:
    """Returns (rows, source width, target width) of every bucket."""
    return [(rows_per_batch(widths, self._batch_tokens), *widths) for widths in self._buckets]

  def _begin_epoch(self) -> EpochPlan:
    """Returns the plan of the epoch's batches; the pairs are those of its cut from now on."""
    if self._cuts is not None:
      self._encoded = self._cuts.pairs(self._epoch, self._buckets)
      self._bucket_of_pair = self._assigned()
    return self._plans.of(self._epoch)

  def _assigned(self) -> Integer[np.ndarray, " pairs"]:
    """Returns the bucket of each pair."""
    lengths = self._encoded.source_lengths, self._encoded.target_lengths
    return assign_buckets(*lengths, self._buckets)

  def _plan_epoch(self, epoch: int) -> EpochPlan:
    plan = plan_epoch(self._bucket_of_pair, self._buckets, self._batch_tokens, self._seed, epoch)
    if epoch == 0:
      areas = [sum(self._buckets[bucket]) for bucket, _ in plan]
      largest = areas.index(max(areas))
      plan[0], plan[largest] = plan[largest], plan[0]
    return plan


def pad_rows(
  sequences: Iterable[Tokens], num_rows: int, width: int
) -> Int32[np.ndarray, "rows width"]:
  """Returns int32 [num_rows, width]: a sequence in each of the first rows, and PAD elsewhere.

  Example:
    pad_rows([[5, 6, 1], [7, 1]], num_rows=3, width=4)
    # [[5, 6, 1, 0], [7, 1, 0, 0], [0, 0, 0, 0]]

  Raises:
    IndexError: more sequences than rows.
    ValueError: a sequence is longer than `width`.
  """
  padded = np.full((num_rows, width), PAD_ID, np.int32)
  for row, tokens in enumerate(sequences):
    padded[row, : len(tokens)] = tokens
  return padded


def make_batch(
  encoded: Pairs, pairs: Sequence[int] | Integer[np.ndarray, " pairs"], widths: Widths, own: range
) -> Batch:
  """Returns the rows `own` of the batch that has a pair in each of its first rows.

  The other rows are padding. Only the pairs of these rows are read.
  """
  source_width, target_width = widths
  own_pairs = pairs[own.start : own.stop]
  return Batch(
    pad_rows([encoded.source(pair) for pair in own_pairs], len(own), source_width),
    pad_rows([encoded.target(pair) for pair in own_pairs], len(own), target_width),
  )


def drop_words(batch: Batch, rate: float, rng: np.random.Generator) -> Batch:
  """Returns the batch with UNK in place of source tokens drawn with probability `rate`.

  EOS and padding stay.
  """
  source_BS = batch.source_BS
  is_token_BS = (source_BS != PAD_ID) & (source_BS != EOS_ID)
  is_dropped_BS = is_token_BS & (rng.random(source_BS.shape) < rate)
  dropped_BS = np.where(is_dropped_BS, np.int32(UNK_ID), source_BS)
  return dataclasses.replace(batch, source_BS=dropped_BS)


def ordered_batches(
  encoded: Pairs, num_buckets: int, batch_tokens: int, own_rows: OwnRows = range
) -> Iterator[Batch]:
  """Yields this process's rows of Batches that hold every pair once.

  They come bucket by bucket, in the pairs' order.
  """
  buckets = choose_buckets(encoded.source_lengths, encoded.target_lengths, num_buckets)
  bucket_of_pair = assign_buckets(encoded.source_lengths, encoded.target_lengths, buckets)
  for number, widths in enumerate(buckets):
    pairs = np.flatnonzero(bucket_of_pair == number)
    num_rows = rows_per_batch(widths, batch_tokens)
    for start in range(0, len(pairs), num_rows):
      yield make_batch(encoded, pairs[start : start + num_rows], widths, own_rows(num_rows))
