"""A sample of a stream: in order, without repeats, each item as likely as another."""

import collections

import pytest

from transformer_jax.data import sampling
from transformer_jax.data.sampling import sample


@pytest.mark.parametrize("size", [7, 8, 1000])
def test_a_short_stream_passes_as_it_is(size):
  assert list(sample(iter("abcdefg"), size)) == list("abcdefg")
  assert list(sample([], size)) == []


@pytest.mark.parametrize("size, count", [(1, 2), (1, 500), (10, 11), (100, 5000)])
def test_a_sample_is_in_order_and_always_the_same(size, count):
  found = list(sample(range(count), size))
  assert len(found) == size and found == sorted(set(found))
  assert list(sample(range(count), size)) == found


def test_all_items_are_equally_likely(monkeypatch):
  counts = collections.Counter()
  for seed in range(4000):
    monkeypatch.setattr(sampling, "_SEED", seed)
    counts.update(sample(range(12), 3))
  # 1000 each; the standard deviation is 27
  assert len(counts) == 12 and all(850 < count < 1150 for count in counts.values())


def test_items_are_given_up_as_they_are_yielded():
  class Item:
    alive = 0

    def __init__(self):
      Item.alive += 1

    def __del__(self):
      Item.alive -= 1

  items = sample((Item() for _ in range(100)), 50)
  for left in range(49, 0, -1):
    next(items)
    assert Item.alive <= left + 1
