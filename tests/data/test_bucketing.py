"""Bucket shapes against exhaustive search; an epoch's plan: every pair once, the same each time."""

import itertools

import numpy as np
import pytest

from transformer_jax.data.bucketing import (
  assign_buckets,
  choose_buckets,
  plan_epoch,
  rows_per_batch,
)


def lengths_like_wmt(count, longest=256, seed=0):
  """Two correlated log-normal lengths, mean about 29 and 31."""
  rng = np.random.default_rng(seed)
  source = np.clip(rng.lognormal(3.2, 0.6, count), 2, longest - 1)
  target = np.clip(source * rng.lognormal(0.05, 0.2, count), 2, longest - 1)
  return source.astype(int) + 1, target.astype(int) + 1


def padded(source_lengths, target_lengths, buckets):
  """Returns the positions that all pairs take up in their buckets."""
  area = np.array([sum(bucket) for bucket in buckets])
  return area[assign_buckets(source_lengths, target_lengths, buckets)].sum()


@pytest.mark.parametrize("num_buckets", [1, 2, 5, 8, 64])
def test_every_pair_fits_and_widths_ascend(num_buckets):
  source, target = lengths_like_wmt(5000)
  buckets = choose_buckets(source, target, num_buckets)
  assert 1 <= len(buckets) <= num_buckets
  assert buckets == sorted(buckets, key=max) and len(set(buckets)) == len(buckets)
  assert all(width % 4 == 0 and isinstance(width, int) for bucket in buckets for width in bucket)
  which = assign_buckets(source, target, buckets)
  assert which.max() < len(buckets)
  widths = np.array(buckets)[which]
  assert (source <= widths[:, 0]).all() and (target <= widths[:, 1]).all()
  assert max(buckets[-1]) - max(source.max(), target.max()) in range(4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_buckets", [1, 2, 3])
def test_no_other_cut_pads_less(seed, num_buckets):
  """Against exhaustive search over all cuts of the pairs, ordered by their longer sides."""
  rng = np.random.default_rng(seed)
  source, target = rng.integers(1, 33, 60), rng.integers(1, 33, 60)
  grid = sorted({-(-int(n) // 4) * 4 for n in np.maximum(source, target)})
  least = min(
    _cost_of_cut(source, target, cut)
    for size in range(1, num_buckets + 1)
    for cut in itertools.combinations(grid, size)
    if cut[-1] == grid[-1]
  )
  assert padded(source, target, choose_buckets(source, target, num_buckets)) <= least


def _cost_of_cut(source, target, cut):
  low = 0
  total = 0
  for high in cut:
    inside = (np.maximum(source, target) > low) & (np.maximum(source, target) <= high)
    if inside.any():
      total += inside.sum() * sum(-(-int(side[inside].max()) // 4) * 4 for side in (source, target))
    low = high
  return total


def test_more_buckets_never_pad_more():
  source, target = lengths_like_wmt(20_000)
  areas = [padded(source, target, choose_buckets(source, target, n)) for n in (1, 2, 4, 8, 16)]
  assert areas == sorted(areas, reverse=True)
  assert (source.sum() + target.sum()) / areas[3] > 0.75


def test_the_long_tail_is_cut_where_it_should_be():
  """The last 2% of the pairs have most of the widths: candidates must lie among them."""
  source, target = lengths_like_wmt(200_000)
  buckets = choose_buckets(source, target, 16)
  assert (source.sum() + target.sum()) / padded(source, target, buckets) > 0.845


def test_sides_of_different_lengths_get_different_widths():
  source = np.array([3, 4, 10, 12] * 10)
  assert choose_buckets(source, source * 2, 2) == [(4, 8), (12, 24)]


def test_one_length_is_one_bucket():
  assert choose_buckets(np.full(9, 7), np.full(9, 7), 8) == [(8, 8)]


def test_a_pair_that_fits_no_bucket_is_reported():
  assert assign_buckets(np.array([3, 9, 3]), np.array([3, 3, 9]), [(4, 4), (8, 8)]).tolist() == [
    0,
    2,
    2,
  ]


def test_rows_keep_both_sides_within_the_batch():
  assert rows_per_batch((10, 25), 100) == 4
  assert rows_per_batch((25, 10), 100) == 4
  assert rows_per_batch((300, 10), 100) == 1


def plan(seed, epoch, count=3000, batch_tokens=512):
  source, target = lengths_like_wmt(count)
  buckets = choose_buckets(source, target, 6)
  which = assign_buckets(source, target, buckets)
  return which, buckets, plan_epoch(which, buckets, batch_tokens, seed, epoch)


def _as_lists(batches):
  return [(int(bucket), rows.tolist()) for bucket, rows in batches]


def test_an_epoch_holds_every_pair_once_in_full_batches():
  which, buckets, batches = plan(1, 0)
  assert sorted(np.concatenate([rows for _, rows in batches]).tolist()) == list(range(3000))
  for number, bucket in enumerate(buckets):
    sizes = [len(rows) for index, rows in batches if index == number]
    assert sum(size < rows_per_batch(bucket, 512) for size in sizes) <= 1 and max(
      sizes
    ) <= rows_per_batch(bucket, 512)
  assert all((which[rows] == bucket).all() for bucket, rows in batches)


def test_the_plan_is_a_pure_function_of_seed_and_epoch():
  assert _as_lists(plan(1, 4)[2]) == _as_lists(plan(1, 4)[2])
  different = [_as_lists(plan(*key)[2]) for key in ((1, 4), (1, 5), (2, 4), (4, 1))]
  assert all(a != b for a, b in itertools.combinations(different, 2))


def test_epochs_mix_pairs_and_order_anew():
  """Another epoch has other partners in a batch, and buckets do not come in runs."""
  batches = [
    {frozenset(rows.tolist()) for _, rows in plan(1, epoch)[2] if len(rows) > 1} for epoch in (0, 1)
  ]
  assert len(batches[0] & batches[1]) < 0.05 * len(batches[0])
  order = [bucket for bucket, _ in plan(1, 0)[2]]
  assert sum(a != b for a, b in itertools.pairwise(order)) > len(order) / 2


@pytest.mark.slow
def test_four_and_a_half_million_pairs_are_planned():
  """WMT14 En-De; about 1.1 s on one idle core."""
  source, target = lengths_like_wmt(4_500_000)
  buckets = choose_buckets(source, target, 8)
  batches = plan_epoch(assign_buckets(source, target, buckets), buckets, 25_000, 1, 0)
  assert sum(len(rows) for _, rows in batches) == 4_500_000
