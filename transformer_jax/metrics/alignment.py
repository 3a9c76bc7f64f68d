"""Alignment error rate (Och and Ney 2003, "A Systematic Comparison of Various Statistical Alignment
Models", Section 5).

A gold standard marks links as sure, or as possible where people would differ. With the sets A
(found), S (sure) and P (possible, S included), of all sentences:

  AER = 1 - (|A and S| + |A and P|) / (|A| + |S|)
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from transformer_jax.errors import DataError
from transformer_jax.files import StrPath

Link = tuple[int, int]  # (source word, target word), from 0

_LINK = re.compile(r"(\d+)([-?])(\d+)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class GoldPair:
  """A sentence, its translation, and the links between their words."""

  source: str
  target: str
  sure: frozenset[Link]
  possible: frozenset[Link]  # the sure ones included


def alignment_error_rate(
  found: Sequence[Iterable[Link]], gold: Sequence[GoldPair]
) -> dict[str, float | int]:
  """Returns the error of the links found, in percent, over all sentences together.

  Returns:
    dict: "aer"; "precision", the share of A that is possible; "recall", the share of S that was
    found; "links", the size of A.

  Raises:
    ValueError: there are no links at all to compare.

  Example:
    alignment_error_rate([[(0, 0), (1, 1)]], gold)["aer"]
  """
  sets = [set(links) for links in found]
  num_found = sum(map(len, sets))
  num_sure = sum(len(pair.sure) for pair in gold)
  if not num_found + num_sure:
    raise ValueError("neither the gold standard nor the alignment has links")
  in_sure = sum(len(links & pair.sure) for links, pair in zip(sets, gold, strict=True))
  in_possible = sum(len(links & pair.possible) for links, pair in zip(sets, gold, strict=True))
  return dict(
    aer=100 * (1 - (in_sure + in_possible) / (num_found + num_sure)),
    precision=100 * in_possible / max(num_found, 1),
    recall=100 * in_sure / max(num_sure, 1),
    links=num_found,
  )


def gold_pairs(lines: Iterable[str], name: StrPath) -> list[GoldPair]:
  """Returns the pairs of a gold standard: lines of source, target and links, with tabs between.

  Links are "0-0" if sure and "0?0" if possible; words are separated by spaces, numbered from 0.

  Args:
    lines: the lines, without their ends.
    name: their file, for errors.

  Raises:
    DataError: a line is not of this form, or links a word that is not there; names the line.
  """
  return [_gold_pair(f"{name}:{number}", line) for number, line in enumerate(lines, 1)]


def _gold_pair(where: str, line: str) -> GoldPair:
  fields = line.split("\t")
  if len(fields) != 3:
    raise DataError(where, f"has {len(fields)} fields", "give source, target and links, with tabs")
  source, target, links = fields
  sizes = len(source.split()), len(target.split())
  marked = [(_link(where, text, sizes), "?" not in text) for text in links.split()]
  sure = frozenset(link for link, is_sure in marked if is_sure)
  return GoldPair(source, target, sure, frozenset(link for link, _ in marked))


def _link(where: str, text: str, sizes: tuple[int, int]) -> Link:
  match = _LINK.fullmatch(text)
  if not match:
    raise DataError(where, f"{text!r} is no link", "write 0-0, or 0?0 if it is only possible")
  link = int(match[1]), int(match[3])
  for number, size in zip(link, sizes, strict=True):
    if number >= size:
      raise DataError(where, f"{text} links word {number} of {size}, counted from 0")
  return link
