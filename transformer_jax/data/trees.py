"""Constituency trees: bracketed text to trees and back, and the cleaning of treebanks (paper: Section 6.3).

A tree is flat: its leaves, and its constituents as spans over them. Nothing here recurses, so depth has no limit.
"""

import re
from typing import NamedTuple

_SPACE, _TEXT = r"[ \t\r\n\f\v]", r"[^ \t\r\n\f\v()]+"
_PIECE = re.compile(
  rf"\({_SPACE}*(?P<tag>{_TEXT}){_SPACE}+(?P<word>{_TEXT}){_SPACE}*\)"  # a leaf
  rf"|(?P<open>\(){_SPACE}*(?P<label>{_TEXT})?|(?P<close>\))|{_TEXT}"
)
# "(NNP New York)"
_WORDS_ALONE = re.compile(rf"\({_SPACE}*{_TEXT}(?:{_SPACE}+{_TEXT}){{2,}}{_SPACE}*\)")
EMPTY_TAG = "-NONE-"  # of leaves that are no words: traces, dropped subjects
UNKNOWN_TAG = "XX"
ROOT = "TOP"


class Leaf(NamedTuple):
  """A word with its part of speech."""

  tag: str
  word: str


class Constituent(NamedTuple):
  """A labelled span of the leaves [start, end)."""

  label: str
  start: int
  end: int


class Tree(NamedTuple):
  """`constituents` are in the order in which they open, so of equal spans the outer one comes first.

  An empty constituent at the end of another counts as standing after it; no treebank has one.
  """

  leaves: tuple[Leaf, ...]
  constituents: tuple[Constituent, ...]

  @property
  def words(self):
    """The words, a tuple."""
    return tuple(leaf.word for leaf in self.leaves)

  def __str__(self):
    return to_text(self)


class TreeError(ValueError):
  """Text that is not a tree; `line` counts from 1 within what was read."""

  def __init__(self, problem, line):
    super().__init__(problem)
    self.line = line


def read_trees(lines):
  """Yields (line on which it begins, Tree) for each bracketed tree; one may stand on several lines, or several on one.

  "(LABEL WORD)" is a leaf. A word among the children of a constituent, as in "(NP the (NN dog))", is a leaf tagged XX.

  Raises:
    TreeError: brackets do not balance or hold no word, text stands outside of them, or a bracket
      holds several words alone: whether it is a constituent or a part of speech cannot be known.
  """
  pending, depth, begin = [], 0, 0
  for number, line in enumerate(lines, 1):
    if not pending:
      begin = number
    depth += line.count("(") - line.count(")")
    pending.append(line)
    if depth <= 0:
      yield from _complete("\n".join(pending), begin)
      pending, depth = [], 0
  if pending:
    yield from _complete("\n".join(pending), begin)


def _complete(text, begin):
  """Yields (line, Tree) of a text that begins on line `begin`."""
  if words := _WORDS_ALONE.search(text):
    shown = " ".join(words[0].split())[:40]
    raise TreeError(
      f"'{shown}' holds several words: each needs a bracket with its part of speech",
      begin + text.count("\n", 0, words.start()),
    )
  for line, tree in _split(*_parse(text, begin)):
    if any(start == end for _, start, end in tree.constituents):
      raise TreeError("a bracket holds no word", line)
    yield line, tree


def parse_tree(text):
  """All that stands in a text as one Tree, which may have several roots, as EVALB reads a line.

  Raises:
    TreeError: brackets do not balance, or text stands outside of them.
  """
  return _parse(text, 1)[0]


def find_leaves(text):
  """The leaves in a text whose brackets need not balance, a tuple."""
  return tuple(
    Leaf(piece["tag"], piece["word"]) for piece in _PIECE.finditer(text) if piece["word"]
  )


def _parse(text, line):
  """(Tree of all roots, [(its line, leaves, constituents up to its end) of each root])."""
  leaves, constituents, is_open, ends = [], [], [], []
  line_of_root, place = line, 0
  for piece in _PIECE.finditer(text):
    line, place = line + text.count("\n", place, piece.start()), piece.start()
    if not is_open:
      line_of_root = line
    if piece["word"]:
      leaves.append(Leaf(piece["tag"], piece["word"]))
    elif piece["open"]:
      is_open.append((len(constituents), line))
      constituents.append(Constituent(piece["label"] or "", len(leaves), None))
    elif not is_open:
      raise TreeError(f"'{piece[0][:40]}' stands outside of brackets", line)
    elif piece["close"]:
      number, _ = is_open.pop()
      constituents[number] = constituents[number]._replace(end=len(leaves))
    else:
      leaves.append(Leaf(UNKNOWN_TAG, piece[0]))
    if not is_open:
      ends.append((line_of_root, len(leaves), len(constituents)))
  if is_open:
    raise TreeError("a bracket that opens here is never closed", is_open[0][1])
  return Tree(tuple(leaves), tuple(constituents)), ends


def _split(forest, ends):
  """Yields (line, Tree) for each root."""
  first_leaf = first_constituent = 0
  for line, leaf, constituent in ends:
    yield (
      line,
      Tree(
        forest.leaves[first_leaf:leaf],
        tuple(
          Constituent(label, start - first_leaf, end - first_leaf)
          for label, start, end in forest.constituents[first_constituent:constituent]
        ),
      ),
    )
    first_leaf, first_constituent = leaf, constituent


def bracket_events(tree):
  """Yields ("open", label), ("leaf", Leaf) and ("close", label) from left to right."""
  open_ends, place = [], 0
  constituents = tree.constituents
  for position in range(len(tree.leaves) + 1):
    while open_ends and open_ends[-1][1] == position:
      yield "close", open_ends.pop()[0]
    while place < len(constituents) and constituents[place].start == position:
      label, _, end = constituents[place]
      place += 1
      yield "open", label
      if end == position:
        yield "close", label  # an empty one
      else:
        open_ends.append((label, end))
    if position < len(tree.leaves):
      yield "leaf", tree.leaves[position]


def to_text(tree, pretty=False):
  """The tree in brackets: on one line, or, `pretty`, each constituent on a line of its own, indented by depth."""
  parts, depth = [], 0
  for kind, value in bracket_events(tree):
    if kind == "close":
      depth -= 1
      parts.append(")")
      continue
    if parts:
      parts.append("\n" + "  " * depth if pretty and kind == "open" else " ")
    parts.append(f"({value.tag} {value.word})" if kind == "leaf" else f"({value}")
    depth += kind == "open"
  return "".join(parts)


def clean(tree):
  """The tree as parsers learn it: no traces, no function tags, nothing empty, PRT|ADVP as PRT, one TOP around it all.

  Returns:
    A Tree, or None if no word is left.
  """
  kept = [leaf.tag != EMPTY_TAG for leaf in tree.leaves]
  before = [0]  # kept leaves before each position
  for is_kept in kept:
    before.append(before[-1] + is_kept)
  leaves = tuple(
    Leaf(base_label(leaf.tag), leaf.word)
    for leaf, is_kept in zip(tree.leaves, kept, strict=True)
    if is_kept
  )
  if not leaves:
    return None
  constituents = [
    Constituent(_clean_label(label), before[start], before[end])
    for label, start, end in tree.constituents
  ]
  constituents = [c for c in constituents if c.start < c.end]
  while (
    constituents and constituents[0].label in _ROOTS and constituents[0][1:] == (0, len(leaves))
  ):
    constituents.pop(0)
  return Tree(leaves, (Constituent(ROOT, 0, len(leaves)), *(c for c in constituents if c.label)))


_ROOTS = ("", ROOT, "S1", "ROOT")  # how treebanks call the bracket around a sentence


def base_label(label):
  """A label without function tags and indices: NP-SBJ-1 and NP=2 are NP. -LRB- and -NONE- stay."""
  return label if label.startswith("-") else re.split("[-=]", label, maxsplit=1)[0] or label


def _clean_label(label):
  label = base_label(label)
  return "PRT" if label == "PRT|ADVP" else label


def with_tags(tree, tags):
  """The tree with other tags on its leaves."""
  return Tree(
    tuple(Leaf(tag, leaf.word) for tag, leaf in zip(tags, tree.leaves, strict=True)),
    tree.constituents,
  )
