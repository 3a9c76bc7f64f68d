"""Chooses few static shapes with little padding, and plans the batches of an epoch."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Integer

Widths = tuple[int, int]  # (S, T): a bucket, the padded lengths of its sources and its targets
Lengths = Integer[np.ndarray, " pairs"]

_STEP = 4  # widths are multiples of this
_BLOCK = 1 << 18  # pairs
_CANDIDATES = 64  # widths that the search may choose from


def choose_buckets(
  source_lengths: Lengths, target_lengths: Lengths, num_buckets: int
) -> list[Widths]:
  """Returns at most `num_buckets` buckets, ascending; each pair of sentences fits one.

  The pairs are sorted by their longer sides and cut into runs. Dynamic programming over a grid of
  widths finds the cut with the least padded area. The area of a bucket is the number of its pairs
  times (S + T).
  """
  longer_sides = np.maximum(source_lengths, target_lengths)
  widths = _grid(longer_sides)
  narrowest = np.searchsorted(widths, longer_sides)  # the first width that holds each pair
  counts = np.bincount(narrowest, minlength=len(widths))
  longest_source = np.zeros_like(source_lengths, shape=len(widths))
  longest_target = np.zeros_like(target_lengths, shape=len(widths))
  np.maximum.at(longest_source, narrowest, source_lengths)
  np.maximum.at(longest_target, narrowest, target_lengths)
  return _cut(counts, longest_source, longest_target, num_buckets)


def _grid(longer_sides):
  """Returns the candidate widths: quantiles of the lengths, rounded up to multiples of _STEP.

  Half of the quantiles are spread evenly over the pairs. The other half are closer together the
  longer the pairs are, since the longest few per cent of the pairs stretch over most of the widths.
  """
  even = np.linspace(0, 1, _CANDIDATES // 2 + 1)[1:]
  tail = 1 - np.geomspace(1 / len(longer_sides), 0.1, _CANDIDATES // 2)
  places = np.concatenate([even, np.clip(tail, 0, 1)])
  quantiles = np.quantile(longer_sides, places, method="higher")
  return np.unique(_round_up(quantiles.astype(np.int64)))


def _round_up(length):
  """Returns the next multiple of _STEP, of a number or of each in an array."""
  return -(-length // _STEP) * _STEP


def _cut(counts, longest_source, longest_target, num_buckets):
  """Returns (S, T) of each run in the cheapest cut of the candidates into runs.

  Args:
    counts: the number of pairs of each candidate width.
    longest_source, longest_target: their longest sides.
    num_buckets: the most runs allowed.
  """
  n = len(counts)
  pairs_before = np.concatenate([[0], np.cumsum(counts)])

  def widths(start, end):
    source = _round_up(longest_source[start:end].max())
    target = _round_up(longest_target[start:end].max())
    return int(source), int(target)

  cost = np.full((n + 1, n + 1), np.inf)  # of a run from `start` to `end`
  for start in range(n):
    for end in range(start + 1, n + 1):
      num_pairs = pairs_before[end] - pairs_before[start]
      cost[start, end] = num_pairs * sum(widths(start, end))

  least = np.full((num_buckets + 1, n + 1), np.inf)  # [runs, end]: cost of the candidates before
  last_start = np.zeros((num_buckets + 1, n + 1), int)  # where the last of these runs begins
  least[0, 0] = 0
  for runs in range(1, num_buckets + 1):
    through = least[runs - 1][:, None] + cost
    last_start[runs] = through.argmin(0)
    least[runs] = through.min(0)

  buckets = []
  runs = int(least[:, n].argmin())
  end = n
  while runs:
    start = last_start[runs, end]
    buckets.append(widths(start, end))
    runs -= 1
    end = start
  return buckets[::-1]


def assign_buckets(
  source_lengths: Lengths, target_lengths: Lengths, buckets: Sequence[Widths]
) -> Int[np.ndarray, " pairs"]:
  """Returns the index of the first bucket that holds each pair; `len(buckets)` where none does."""
  index = np.full(len(source_lengths), len(buckets), np.min_scalar_type(len(buckets)))
  for number in reversed(range(len(buckets))):
    source_width, target_width = buckets[number]
    index[(source_lengths <= source_width) & (target_lengths <= target_width)] = number
  return index


def rows_per_batch(widths: Widths, batch_tokens: int) -> int:
  """Returns how many rows keep both sides within `batch_tokens` padded positions; at least 1."""
  return max(1, batch_tokens // max(widths))


def plan_epoch(
  bucket_of_pair: Int[np.ndarray, " pairs"],
  buckets: Sequence[Widths],
  batch_tokens: int,
  seed: int,
  epoch: int,
) -> list[tuple[int, Int[np.ndarray, " rows"]]]:
  """Returns an epoch's batches in training order: (bucket index, indices of the pairs).

  Every pair is in one batch; a bucket's last batch may be short. The order is a pure function of
  (seed, epoch).

  Args:
    bucket_of_pair: from `assign_buckets`.
    buckets: from `choose_buckets`.
    batch_tokens: the most padded positions of a side in a batch.
    seed, epoch: they determine the order.
  """
  rng = np.random.default_rng((seed, epoch))
  # Small integers: with tens of millions of pairs, time and memory go where the order is kept. The
  # draws do not depend on their type.
  order = np.arange(len(bucket_of_pair), dtype=np.int32)
  rng.shuffle(order)
  batches = []
  for number, pairs in enumerate(_by_bucket(order, bucket_of_pair, len(buckets))):
    size = rows_per_batch(buckets[number], batch_tokens)
    batches += [(number, pairs[start : start + size]) for start in range(0, len(pairs), size)]
  return [batches[index] for index in rng.permutation(len(batches))]


def _by_bucket(order, bucket_of_pair, num_buckets):
  """Yields the pairs of each bucket in their order.

  It goes by blocks, which stay in the processor's cache. Between them another thread may run.
  """
  parts = [[order[:0]] for _ in range(num_buckets)]
  for start in range(0, len(order), _BLOCK):
    block = order[start : start + _BLOCK]
    buckets = bucket_of_pair[block]
    for number, part in enumerate(parts):
      part.append(block[buckets == number])
  for part in parts:
    yield np.concatenate(part)
