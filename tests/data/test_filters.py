"""Filters of pairs; the search for duplicates against a set."""

import numpy as np
import pytest

from transformer_jax.data.filters import OFF, Duplicates, PairFilters, pair_hash


def test_nothing_is_dropped_by_default():
  assert OFF.why_dropped("same", "same", (2, 2)) is None
  assert OFF.why_dropped("...", "", (100, 1)) is None


@pytest.mark.parametrize("text", ["...", "\u200b \u00ad", "\u2014 *** \U0001f600", ""])
def test_a_side_without_a_letter_or_digit(text):
  filters = PairFilters(drop_wordless=True)
  for pair in ((text, "a word"), ("a word", text)):
    assert filters.why_dropped(*pair, (3, 3)) == "without a letter or digit"
  assert filters.why_dropped("\u6f22", "7", (3, 3)) is None


def test_the_ratio_itself_is_allowed():
  filters = PairFilters(max_length_ratio=1.5)
  assert filters.why_dropped("a", "b", (4, 6)) is filters.why_dropped("a", "b", (6, 4)) is None
  assert filters.why_dropped("a", "b", (4, 7)) == "beyond a length ratio of 1.5"


def test_pairs_share_a_hash_only_if_they_are_equal():
  same = [pair_hash("a b", "c"), pair_hash(" a b\t", "c ")]
  others = [pair_hash("a", "b c"), pair_hash("c", "a b"), pair_hash("a b", "C"), pair_hash("", "")]
  assert len(set(same)) == 1 and len({*same, *others}) == 5
  assert 0 <= same[0] < 1 << 64


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_those_that_a_set_finds(seed):
  rng = np.random.default_rng(seed)
  duplicates, seen = Duplicates(), set()
  for _ in range(60):
    hashes = [number << 52 for number in rng.integers(0, 3000, rng.integers(0, 90)).tolist()]
    expected = []
    for value in hashes:
      expected.append(value not in seen)
      seen.add(value)
    assert duplicates.are_new(hashes).tolist() == expected
  lengths = [len(run) for run in duplicates._runs]
  assert sum(lengths) == len(seen) and len(lengths) <= 8
