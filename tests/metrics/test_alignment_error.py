"""Alignment error rate, by hand; gold standards that cannot be read."""

import pathlib

import pytest

from transformer_jax.data.text import read_lines
from transformer_jax.errors import DataError
from transformer_jax.metrics.alignment import GoldPair, alignment_error_rate, gold_pairs

GOLD = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/alignment/german_english.tsv"


def pair(sure, possible=()):
  return GoldPair("", "", frozenset(sure), frozenset(sure) | frozenset(possible))


def test_by_hand():
  """Of two sentences: A has 4 links, of which 2 are sure and 3 possible; S has 3."""
  gold = [pair([(0, 0), (1, 1)], [(2, 1)]), pair([(0, 1)])]
  found = [[(0, 0), (2, 1), (0, 0)], [(0, 1), (1, 0)]]
  result = alignment_error_rate(found, gold)
  assert result["aer"] == pytest.approx(100 * (1 - (2 + 3) / (4 + 3)))
  assert result["precision"] == pytest.approx(75)
  assert result["recall"] == pytest.approx(100 * 2 / 3)
  assert result["links"] == 4


def test_bounds():
  gold = [pair([(0, 0)], [(1, 0)])]
  assert alignment_error_rate([[(0, 0), (1, 0)]], gold)["aer"] == 0
  assert alignment_error_rate([[(5, 5)]], gold)["aer"] == 100
  assert alignment_error_rate([[]], gold)["aer"] == 100
  with pytest.raises(ValueError, match="links"):
    alignment_error_rate([[]], [pair([])])


def test_our_gold_standard_is_whole():
  """Each English word has a link, and each sentence sure ones."""
  gold = gold_pairs(read_lines(GOLD), GOLD)
  assert len(gold) == 42
  for each in gold:
    assert each.sure and each.sure <= each.possible
    linked = {target for _, target in each.possible}
    assert linked == set(range(len(each.target.split()))), each.target
  assert len({each.source for each in gold}) == 42


@pytest.mark.parametrize(
  "line, problem",
  [
    ("a b\tc", "2 fields"),
    ("a b\tc\t0-0 1_0", "'1_0' is no link"),
    ("a b\tc\t0-0 ٢-0", "is no link"),
    ("a b\tc\t2-0", "word 2 of 2"),
    ("a b\tc\t0?1", "word 1 of 1"),
  ],
)
def test_lines_that_are_none(line, problem):
  with pytest.raises(DataError, match=problem) as caught:
    gold_pairs(["a\tb\t0-0", line], "gold.tsv")
  assert caught.value.where == "gold.tsv:2"
