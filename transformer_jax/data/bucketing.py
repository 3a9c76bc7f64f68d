"""Few static (source, target) widths with little padding, and each epoch's batches as a pure function of (seed, epoch)."""

import numpy as np

_STEP = 4  # widths are multiples of this
_CANDIDATES = 64  # widths that the search may choose from


def choose_buckets(source_lengths, target_lengths, num_buckets):
  """At most `num_buckets` pairs of widths (S, T), ascending, such that each pair of sentences fits one.

  Pairs are ordered by the longer of their sides; cutting that order into `num_buckets` runs so that the padded area is least
  is solved exactly over a grid of widths by dynamic programming. A batch costs its rows times (S + T).
  """
  longer = np.maximum(source_lengths, target_lengths)
  widths = _grid(longer)
  which = np.searchsorted(widths, longer)  # the narrowest width that holds each pair
  counts = np.bincount(which, minlength=len(widths))
  widest = [np.zeros(len(widths), np.int64) for _ in range(2)]
  for table, lengths in zip(widest, (source_lengths, target_lengths), strict=True):
    np.maximum.at(table, which, lengths)
  return _cut(counts, *widest, num_buckets)


def _grid(longer):
  """Candidate widths: quantiles of the lengths rounded up to a multiple of _STEP, and the longest.

  Half of them are spread evenly over the pairs; the other half halve what is left of the pairs step by step, since the
  longest few per cent of the pairs stretch over most of the widths.
  """
  even = np.linspace(0, 1, _CANDIDATES // 2 + 1)[1:]
  tail = 1 - np.geomspace(1 / len(longer), 0.1, _CANDIDATES // 2)
  quantiles = np.quantile(longer, np.concatenate([even, np.clip(tail, 0, 1)]), method="higher")
  return np.unique(_round_up(quantiles.astype(np.int64)))


def _round_up(length):
  return -(-length // _STEP) * _STEP


def _cut(counts, widest_source, widest_target, num_buckets):
  """The cheapest cut of the candidates 0 .. n-1 into at most `num_buckets` runs; returns each run's (S, T)."""
  n = len(counts)
  total = np.concatenate([[0], np.cumsum(counts)])

  def bucket(start, end):
    return _round_up(widest_source[start:end].max()), _round_up(widest_target[start:end].max())

  cost = np.full((n + 1, n + 1), np.inf)
  for start in range(n):
    for end in range(start + 1, n + 1):
      cost[start, end] = (total[end] - total[start]) * sum(bucket(start, end))
  best, parent = np.full((num_buckets + 1, n + 1), np.inf), np.zeros((num_buckets + 1, n + 1), int)
  best[0, 0] = 0
  for used in range(1, num_buckets + 1):
    through = best[used - 1][:, None] + cost
    parent[used], best[used] = through.argmin(0), through.min(0)
  used, end, buckets = int(best[:, n].argmin()), n, []
  while used:
    start = parent[used, end]
    buckets.append(tuple(map(int, bucket(start, end))))
    used, end = used - 1, start
  return buckets[::-1]


def bucket_of(source_lengths, target_lengths, buckets):
  """The index of the first bucket that holds each pair, int [n]; `len(buckets)` where none does."""
  index = np.full(len(source_lengths), len(buckets))
  for number in reversed(range(len(buckets))):
    width_s, width_t = buckets[number]
    index[(source_lengths <= width_s) & (target_lengths <= width_t)] = number
  return index


def rows_of(bucket, batch_tokens):
  """Pairs in a batch: as many as keep both sides within `batch_tokens` padded positions."""
  return max(1, batch_tokens // max(bucket))


def plan_epoch(which, buckets, batch_tokens, seed, epoch):
  """An epoch's batches: a list of (bucket index, row indices), in training order.

  `which` is `bucket_of` every pair. Every pair is in one batch; a bucket's last batch may be short. The order is a
  pure function of (seed, epoch).
  """
  rng = np.random.default_rng((seed, epoch))
  order = rng.permutation(len(which))
  batches = []
  for number, bucket in enumerate(buckets):
    rows = order[which[order] == number]
    size = rows_of(bucket, batch_tokens)
    batches += [(number, rows[start : start + size]) for start in range(0, len(rows), size)]
  return [batches[i] for i in rng.permutation(len(batches))]
