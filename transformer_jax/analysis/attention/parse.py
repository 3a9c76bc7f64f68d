"""The tree of a parser's output, for display: its nodes, and the symbols that each is made of."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from transformer_jax.data.linearization import LEAF, SymbolPlace
from transformer_jax.data.trees import ROOT, Tree
from transformer_jax.tasks.parsing import ParsingTask

_LONGEST = 12  # letters of a word beside a symbol


@dataclasses.dataclass(frozen=True)
class Parse:
  """A tree, and for each output token what it became in it; EOS and dropped ones None."""

  tree: Tree
  places: list[SymbolPlace]

  def words_beside(self) -> list[str]:
    """Returns for each output token the words that it stands over: "the dog", "the … barks"."""
    return [self._words_of(place) for place in self.places]

  def _words_of(self, place: SymbolPlace) -> str:
    if place is None:
      return ""
    kind, number = place
    if kind == LEAF:
      return _short(self.tree.words[number])
    _, start, end = self.tree.constituents[number]
    words = [_short(word) for word in self.tree.words[start:end]]
    return " ".join(words) if len(words) <= 2 else f"{words[0]} … {words[-1]}"

  def nodes(self) -> list[dict[str, Any]]:
    """Returns the nodes of the drawn tree, parents before their children.

    Constituents come first, then the leaves in order; the root that is around every tree is drawn
    only if it has several children.

    Returns:
      dicts of "label", "word" (None for a constituent), "parent" (the number of a node, None for a
      root) and "symbols" (the output tokens that it is made of).
    """
    constituents = self._drawn_constituents()
    nodes: list[dict[str, Any]] = []
    open_nodes: list[tuple[int, int]] = []  # (end, number), outermost first
    number_of: dict[tuple[bool, int], int] = {}  # (is a leaf, number in the tree) -> node
    leaf_parents: list[int | None] = [None] * len(self.tree.leaves)
    for place in constituents:
      label, start, end = self.tree.constituents[place]
      while open_nodes and open_nodes[-1][0] <= start:
        open_nodes.pop()
      parent = open_nodes[-1][1] if open_nodes else None
      number_of[False, place] = len(nodes)
      leaf_parents[start:end] = [len(nodes)] * (end - start)
      open_nodes.append((end, len(nodes)))
      nodes.append(dict(label=label, word=None, parent=parent, symbols=[]))
    for place, (tag, word) in enumerate(self.tree.leaves):
      number_of[True, place] = len(nodes)
      nodes.append(dict(label=tag, word=word, parent=leaf_parents[place], symbols=[]))
    for token, found in enumerate(self.places):
      if found:
        nodes[number_of[found[0] == LEAF, found[1]]]["symbols"].append(token)
    return nodes

  def _drawn_constituents(self) -> Sequence[int]:
    """Returns the numbers of the constituents that are drawn."""
    whole = (0, len(self.tree.leaves))
    below = self.tree.constituents[1:]
    has_root_below = any((start, end) == whole for _, start, end in below)
    is_drawn = self.tree.constituents[0].label != ROOT or not has_root_below
    return range(0 if is_drawn else 1, len(self.tree.constituents))


def _short(word: str) -> str:
  return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"


def parse_of(task: Any, text: str) -> Parse | None:
  """Returns the Parse of an output's text; None if the run is no parser."""
  return Parse(*task.symbol_places(text)) if isinstance(task, ParsingTask) else None
