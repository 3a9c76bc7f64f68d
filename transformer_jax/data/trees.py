"""Constituency trees (Section 6.3): from bracketed text and back, and the cleaning of treebanks.

A tree is flat: its leaves, and its constituents as spans over them. Nothing here recurses, so depth
has no limit.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

_SPACE = r"[ \t\r\n\f\v]"
_TEXT = r"[^ \t\r\n\f\v()]+"
_PIECE = re.compile(
  rf"\({_SPACE}*(?P<tag>{_TEXT}){_SPACE}+(?P<word>{_TEXT}){_SPACE}*\)"  # a leaf
  rf"|(?P<open>\(){_SPACE}*(?P<label>{_TEXT})?"
  rf"|(?P<close>\))"
  rf"|{_TEXT}"
)
# "(NNP New York)"
_ONLY_WORDS = re.compile(rf"\({_SPACE}*{_TEXT}(?:{_SPACE}+{_TEXT}){{2,}}{_SPACE}*\)")
EMPTY_TAG = "-NONE-"  # of leaves that are not words: traces, dropped subjects
UNKNOWN_TAG = "XX"
ROOT = "TOP"
_ROOTS = ("", ROOT, "S1", "ROOT")  # labels that treebanks give to the bracket around a sentence


class Leaf(NamedTuple):
  """A word with its part of speech."""

  tag: str
  word: str


class Constituent(NamedTuple):
  """A labeled span of the leaves [start, end)."""

  label: str
  start: int
  end: int


class Tree(NamedTuple):
  """Leaves, and constituents in the order in which they open: of equal spans the outer comes first.

  An empty constituent at the end of another counts as following it; no treebank has one.
  """

  leaves: tuple[Leaf, ...]
  constituents: tuple[Constituent, ...]

  @property
  def words(self) -> tuple[str, ...]:
    """The words of the leaves."""
    return tuple(leaf.word for leaf in self.leaves)

  def __str__(self) -> str:
    return to_text(self)


class TreeError(ValueError):
  """Text that is not a tree; `line` counts from 1 within what was read."""

  def __init__(self, problem: str, line: int) -> None:
    super().__init__(problem)
    self.line = line


class _RootEnd(NamedTuple):
  """The end of a root in a forest: how many leaves and constituents the forest has up to there."""

  line: int  # on which the root begins
  num_leaves: int
  num_constituents: int


def read_trees(lines: Iterable[str]) -> Iterator[tuple[int, Tree]]:
  """Yields (line on which it begins, Tree) for each bracketed tree.

  A tree may take several lines, and a line may hold several trees. "(LABEL WORD)" is a leaf. A word
  among the children of a constituent, as in "(NP the (NN dog))", is a leaf with the tag XX.

  Raises:
    TreeError: brackets do not balance or hold no word, text is outside of them, or a bracket holds
      only words, several of them: it could be a constituent or a part of speech.
  """
  pending = []
  depth = 0
  begin = 0
  for number, line in enumerate(lines, 1):
    if not pending:
      begin = number
    depth += line.count("(") - line.count(")")
    pending.append(line)
    if depth <= 0:
      yield from _whole_trees("\n".join(pending), begin)
      pending = []
      depth = 0
  if pending:
    yield from _whole_trees("\n".join(pending), begin)


def _whole_trees(text, begin):
  """Yields (line, Tree) for each tree of a text that begins on line `begin`."""
  if words := _ONLY_WORDS.search(text):
    shown = " ".join(words[0].split())[:40]
    raise TreeError(
      f"'{shown}' holds several words: each needs a bracket with its part of speech",
      begin + text.count("\n", 0, words.start()),
    )
  for line, tree in _split_forest(*_parse(text, begin)):
    if any(start == end for _, start, end in tree.constituents):
      raise TreeError("a bracket holds no word", line)
    yield line, tree


def parse_tree(text: str) -> Tree:
  """Returns everything in a text as one Tree, which may have several roots, as EVALB reads a line.

  Example:
    tree = parse_tree("(TOP (S (NP (NNP John)) (VP (VBZ runs))))")
    tree.words  # ("John", "runs")
    tree.constituents[2]  # Constituent(label="NP", start=0, end=1)

  Raises:
    TreeError: brackets do not balance, or text is outside of them.
  """
  forest, _ = _parse(text, 1)
  return forest


def find_leaves(text: str) -> tuple[Leaf, ...]:
  """Returns the leaves in a text whose brackets need not balance."""
  pieces = _PIECE.finditer(text)
  return tuple(Leaf(piece["tag"], piece["word"]) for piece in pieces if piece["word"])


def _parse(text: str, line: int) -> tuple[Tree, list[_RootEnd]]:
  """Returns a Tree of all roots in a text that begins on `line`, and where each root ends."""
  leaves = []
  constituents = []
  is_open = []  # (index among the constituents, line) of those not closed yet
  root_ends = []
  root_line = line
  place = 0
  for piece in _PIECE.finditer(text):
    line += text.count("\n", place, piece.start())
    place = piece.start()
    if not is_open:
      root_line = line
    if piece["word"]:
      leaves.append(Leaf(piece["tag"], piece["word"]))
    elif piece["open"]:
      start = len(leaves)
      is_open.append((len(constituents), line))
      constituents.append(Constituent(piece["label"] or "", start, start))  # the end comes later
    elif not is_open:
      raise TreeError(f"'{piece[0][:40]}' stands outside of brackets", line)
    elif piece["close"]:
      index, _ = is_open.pop()
      constituents[index] = constituents[index]._replace(end=len(leaves))
    else:
      leaves.append(Leaf(UNKNOWN_TAG, piece[0]))
    if not is_open:
      root_ends.append(_RootEnd(root_line, len(leaves), len(constituents)))
  if is_open:
    _, first_line = is_open[0]
    raise TreeError("a bracket that opens here is never closed", first_line)
  return Tree(tuple(leaves), tuple(constituents)), root_ends


def _split_forest(forest, root_ends):
  """Yields (line, Tree) for each root."""
  first_leaf = 0
  first_constituent = 0
  for line, num_leaves, num_constituents in root_ends:
    leaves = forest.leaves[first_leaf:num_leaves]
    constituents = tuple(
      Constituent(label, start - first_leaf, end - first_leaf)
      for label, start, end in forest.constituents[first_constituent:num_constituents]
    )
    yield line, Tree(leaves, constituents)
    first_leaf = num_leaves
    first_constituent = num_constituents


def bracket_events(
  tree: Tree,
) -> Iterator[tuple[Literal["open", "close"], str] | tuple[Literal["leaf"], Leaf]]:
  """Yields ("open", label), ("leaf", Leaf) and ("close", label) from left to right."""
  constituents = tree.constituents
  place = 0  # of the next constituent
  is_open = []  # (label, end)
  for position in range(len(tree.leaves) + 1):
    while is_open and is_open[-1][1] == position:
      label, _ = is_open.pop()
      yield "close", label
    while place < len(constituents) and constituents[place].start == position:
      label, _, end = constituents[place]
      place += 1
      yield "open", label
      if end == position:
        yield "close", label  # an empty one
      else:
        is_open.append((label, end))
    if position < len(tree.leaves):
      yield "leaf", tree.leaves[position]


def to_text(tree: Tree, pretty: bool = False) -> str:
  """Returns the tree in brackets: on one line or, `pretty`, a line a constituent, indented."""
  parts = []
  depth = 0
  for kind, value in bracket_events(tree):
    if kind == "close":
      depth -= 1
      parts.append(")")
      continue
    if parts:
      is_new_line = pretty and kind == "open"
      parts.append("\n" + "  " * depth if is_new_line else " ")
    if isinstance(value, Leaf):
      parts.append(f"({value.tag} {value.word})")
    else:
      parts.append(f"({value}")
      depth += 1
  return "".join(parts)


def clean(tree: Tree) -> Tree | None:
  """Returns the tree as parsers learn it, or None if no word is left.

  It has no traces, function tags or empty constituents; PRT|ADVP is PRT; one TOP is around it all.
  """
  is_kept = [leaf.tag != EMPTY_TAG for leaf in tree.leaves]
  kept_before = [0]  # kept leaves before each position
  for keep in is_kept:
    kept_before.append(kept_before[-1] + keep)
  leaves = tuple(
    Leaf(base_label(leaf.tag), leaf.word)
    for leaf, keep in zip(tree.leaves, is_kept, strict=True)
    if keep
  )
  if not leaves:
    return None
  constituents = [
    Constituent(_clean_label(label), kept_before[start], kept_before[end])
    for label, start, end in tree.constituents
  ]
  constituents = [c for c in constituents if c.start < c.end]
  roots = {Constituent(label, 0, len(leaves)) for label in _ROOTS}
  while constituents and constituents[0] in roots:
    constituents.pop(0)
  labeled = [c for c in constituents if c.label]
  return Tree(leaves, (Constituent(ROOT, 0, len(leaves)), *labeled))


def base_label(label: str) -> str:
  """Returns a label without function tags and indices: NP-SBJ-1 and NP=2 become NP.

  -LRB- and -NONE- stay.
  """
  if label.startswith("-"):
    return label
  return re.split("[-=]", label, maxsplit=1)[0] or label


def _clean_label(label):
  label = base_label(label)
  return "PRT" if label == "PRT|ADVP" else label


def with_tags(tree: Tree, tags: Sequence[str]) -> Tree:
  """Returns the tree with other tags on its leaves."""
  leaves = tuple(Leaf(tag, leaf.word) for tag, leaf in zip(tags, tree.leaves, strict=True))
  return Tree(leaves, tree.constituents)
