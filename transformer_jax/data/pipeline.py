"""Batches without end, from any position: the state of the data is (epoch, position) and nothing else."""

import dataclasses

import numpy as np

from transformer_jax.config import PAD_ID
from transformer_jax.data.bucketing import bucket_of, choose_buckets, plan_epoch, rows_of
from transformer_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Batch:
  """int32 arrays padded with PAD; rows at the end may be nothing but padding."""

  source_BS: np.ndarray
  target_BT: np.ndarray


class FittingPairs:
  """EncodedPairs without those that have a side longer than `max_length` tokens."""

  def __init__(self, encoded, max_length):
    self._encoded = encoded
    longest = np.maximum(encoded.source_lengths, encoded.target_lengths)
    self._rows = np.flatnonzero(longest <= max_length)
    self.source_lengths = encoded.source_lengths[self._rows]
    self.target_lengths = encoded.target_lengths[self._rows]
    dropped, longer = dict(encoded.counts.dropped), len(encoded) - len(self._rows)
    if longer:
      dropped[f"longer than {max_length} tokens"] = longer
    self.counts = dataclasses.replace(encoded.counts, kept=len(self._rows), dropped=dropped)

  def __getattr__(self, name):
    return getattr(self._encoded, name)

  def __len__(self):
    return len(self._rows)

  def source(self, index):
    """Source tokens of a pair."""
    return self._encoded.source(self._rows[index])

  def target(self, index):
    """Target tokens of a pair."""
    return self._encoded.target(self._rows[index])


class BatchStream:
  """Training batches in few shapes; the first is of the largest, so that memory runs out at once or not at all.

  `position` is what a checkpoint keeps: {"epoch", "batch"} of the next batch.

  Raises:
    DataError: no pairs, or a position that these pairs do not have.
  """

  def __init__(self, encoded, num_buckets, batch_tokens, seed, position=None):
    if not len(encoded):
      raise DataError("training data", "there are no pairs")
    self._encoded, self._batch_tokens, self._seed = encoded, batch_tokens, seed
    self._buckets = choose_buckets(encoded.source_lengths, encoded.target_lengths, num_buckets)
    self._which = bucket_of(encoded.source_lengths, encoded.target_lengths, self._buckets)
    self._epoch, self._batch = (
      (0, 0) if position is None else (position["epoch"], position["batch"])
    )
    self._plan = self._plan_epoch(self._epoch)
    if self._batch > len(self._plan):
      raise DataError(
        "training data",
        f"has no position {position}: an epoch has {len(self._plan)} batches",
        "restore the data that the run began with",
      )

  @property
  def position(self):
    """The position of the next batch, a dict for JSON."""
    return dict(epoch=self._epoch, batch=self._batch)

  @property
  def batches_in_epoch(self):
    """Batches that hold every pair once."""
    return len(self._plan)

  def next(self):
    """The next Batch."""
    if self._batch == len(self._plan):
      self._epoch, self._batch = self._epoch + 1, 0
      self._plan = self._plan_epoch(self._epoch)
    bucket, rows = self._plan[self._batch]
    self._batch += 1
    return make_batch(
      self._encoded, rows, self._buckets[bucket], rows_of(self._buckets[bucket], self._batch_tokens)
    )

  def shapes(self):
    """(rows, source width, target width) of every bucket."""
    return [(rows_of(bucket, self._batch_tokens), *bucket) for bucket in self._buckets]

  def _plan_epoch(self, epoch):
    plan = plan_epoch(self._which, self._buckets, self._batch_tokens, self._seed, epoch)
    if epoch == 0:
      largest = max(range(len(plan)), key=lambda i: sum(self._buckets[plan[i][0]]))
      plan[0], plan[largest] = plan[largest], plan[0]
    return plan


def make_batch(encoded, rows, widths, num_rows):
  """A Batch of the pairs `rows`, filled up with PAD to `num_rows` rows of the given (source, target) widths."""
  sides = []
  for side, width in zip((encoded.source, encoded.target), widths, strict=True):
    padded = np.full((num_rows, width), PAD_ID, np.int32)
    for row, index in zip(padded, rows):
      tokens = side(index)
      row[: len(tokens)] = tokens
    sides.append(padded)
  return Batch(*sides)


def ordered_batches(encoded, num_buckets, batch_tokens):
  """Yields Batches that hold every pair once, bucket by bucket, in the pairs' order; for evaluation."""
  buckets = choose_buckets(encoded.source_lengths, encoded.target_lengths, num_buckets)
  which = bucket_of(encoded.source_lengths, encoded.target_lengths, buckets)
  for number, bucket in enumerate(buckets):
    rows, size = np.flatnonzero(which == number), rows_of(bucket, batch_tokens)
    for start in range(0, len(rows), size):
      yield make_batch(encoded, rows[start : start + size], bucket, size)
