"""Trees as sequences of symbols and back (Section 6.3); sequences that are not trees are repaired.

There are two styles. `vinyals` (Vinyals et al. 2015) has XX for every word, as in
"(S (NP XX )NP (VP XX )VP )S". `t2t` (the authors' code) has the words' tags, as in
"S NP NNP /NP VP VBZ /VP /S". Both leave out TOP, which is around every tree.
"""

import collections
from collections.abc import Collection, Iterable, Sequence

from transformer_jax.data.trees import ROOT, UNKNOWN_TAG, Constituent, Leaf, Tree, bracket_events

OPEN = "open"
LEAF = "leaf"
CLOSE = "close"

SymbolKind = tuple[str, str]  # (OPEN, LEAF or CLOSE; the label, of a leaf its tag)
# What a symbol became in a tree: (LEAF, number of the leaf), or (OPEN or CLOSE, number of the
# constituent); None if the repair dropped it.
SymbolPlace = tuple[str, int] | None

_WRAPPER = "S"  # put around the roots of a repaired sequence that has several
# Prefix of a tag that `t2t` could not tell from a bracket, such as one that is also the label of
# an open constituent.
_ESCAPE = "="
# Prefix of a label of `t2t` that would be read as something else; no treebank has such labels.
_LABEL_ESCAPE = "\\"


def linearize(tree: Tree, style: str) -> list[str]:
  """Returns the symbols of a clean tree in a style, "vinyals" or "t2t".

  Example:
    tree = parse_tree("(TOP (S (NP (NNP John)) (VP (VBZ runs))))")
    linearize(tree, "vinyals")  # ["(S", "(NP", "XX", ")NP", "(VP", "XX", ")VP", ")S"]
    linearize(tree, "t2t")  # ["S", "NP", "NNP", "/NP", "VP", "VBZ", "/VP", "/S"]
  """
  without_top = Tree(tree.leaves, tree.constituents[1:])
  return _vinyals_symbols(without_top) if style == "vinyals" else _t2t_symbols(without_top)


def _vinyals_symbols(tree):
  symbols = []
  for kind, value in bracket_events(tree):
    if isinstance(value, Leaf):
      symbols.append(UNKNOWN_TAG)
    else:
      symbols.append(f"({value}" if kind == OPEN else f"){value}")
  return symbols


def _t2t_symbols(tree):
  symbols = []
  num_open = collections.Counter()  # symbol of a label -> its open constituents
  for kind, value in bracket_events(tree):
    if isinstance(value, Leaf):
      is_open_label = num_open[value.tag] > 0
      symbols.append(_tag_symbol(value.tag, is_open_label))
      continue
    label = _label_symbol(value)
    if kind == OPEN:
      symbols.append(label)
      num_open[label] += 1
    else:
      symbols.append(f"/{label}")
      num_open[label] -= 1
  return symbols


def _tag_symbol(tag, is_open_label):
  """Returns the `t2t` symbol of a tag: the tag, escaped if it would be read as a bracket."""
  if is_open_label or tag.startswith(("/", _ESCAPE)):
    return _ESCAPE + tag
  return tag


def _label_symbol(label):
  """Returns the `t2t` symbol of a label: the label, escaped if it has another meaning."""
  if label.startswith(("/", _ESCAPE, _LABEL_ESCAPE)):
    return _LABEL_ESCAPE + label
  return label


def _unescape(symbol, escape):
  """Returns a symbol without its escape; the escape by itself stays."""
  if symbol.startswith(escape) and len(symbol) > 1:
    return symbol.removeprefix(escape)
  return symbol


def symbol_kinds(symbols: Sequence[str], style: str) -> list[SymbolKind | None]:
  """Returns the kind of each symbol of a vocabulary; None for one that has no meaning.

  In `t2t` a symbol opens if the one that closes it is in the vocabulary too. A tag that is also a
  label then counts only as a label.
  """
  if style == "vinyals":
    return [_vinyals_kind(symbol) for symbol in symbols]
  known = set(symbols)
  return [_t2t_kind(symbol, known) for symbol in symbols]


def to_tree(
  symbols: Iterable[str], words: Sequence[str], style: str, labels: Collection[str] = ()
) -> tuple[Tree, bool]:
  """Returns the tree over exactly `words` that symbols describe, and whether it was repaired.

  The repair:
  - drops closing brackets that match no opening bracket, leaves beyond the number of words, and
    constituents without words;
  - closes inner constituents with the outer one, and open ones at the end;
  - adds the words that have no leaf as the last children of the root;
  - puts one S around several roots.

  Args:
    symbols: any strings.
    words: at least one word.
    style: "vinyals" or "t2t".
    labels: for `t2t`, the labels that open a constituent even if no symbol closes it.
  """
  return _built(symbols, words, style, labels).tree()


def symbol_places(
  symbols: Iterable[str], words: Sequence[str], style: str, labels: Collection[str] = ()
) -> tuple[Tree, list[SymbolPlace]]:
  """Returns the tree of `to_tree`, and what each symbol became in it; arguments as there.

  Example:
    symbol_places(["(S", "XX", ")S"], ["Go"], "vinyals")[1]  # [(OPEN, 1), (LEAF, 0), (CLOSE, 1)]
  """
  builder = _built(symbols, words, style, labels)
  tree, _ = builder.tree()
  return tree, builder.places(len(tree.constituents))


def _built(symbols, words, style, labels):
  """Returns a _Builder that has all symbols."""
  builder = _Builder(words)
  if style == "vinyals":
    for symbol in symbols:
      kind, label = _vinyals_kind(symbol) or (None, "")
      builder.add(kind, label)
  else:
    for kind, label in _t2t_kinds_in_place(list(symbols), labels):
      builder.add(kind, label if kind == LEAF else _unescape(label, _LABEL_ESCAPE))
  return builder


def _t2t_kinds_in_place(symbols, labels):
  """Returns the kind of each `t2t` symbol at its position.

  A symbol opens if a later closing bracket matches it, or if its label is known.
  """
  kinds = []
  waiting = []  # labels of later closing brackets without a partner yet, innermost last
  num_waiting = collections.Counter()
  for symbol in reversed(symbols):
    if _is_closing(symbol):
      label = symbol[1:]
      kinds.append((CLOSE, label))
      waiting.append(label)
      num_waiting[label] += 1
    elif num_waiting[symbol]:
      while (label := waiting.pop()) != symbol:  # those in between have no opening
        num_waiting[label] -= 1
      num_waiting[symbol] -= 1
      kinds.append((OPEN, symbol))
    elif symbol in labels:
      kinds.append((OPEN, symbol))
    else:
      kinds.append((LEAF, _unescape(symbol, _ESCAPE)))
  return kinds[::-1]


def _t2t_kind(symbol: str, known: Collection[str]) -> SymbolKind:
  """Returns the kind of a `t2t` symbol by itself, given the symbols of the vocabulary."""
  if _is_closing(symbol):
    return CLOSE, symbol[1:]
  if f"/{symbol}" in known:
    return OPEN, symbol
  return LEAF, symbol


def _vinyals_kind(symbol: str) -> SymbolKind | None:
  if symbol == UNKNOWN_TAG:
    return LEAF, UNKNOWN_TAG
  if len(symbol) > 1 and symbol[0] == "(":
    return OPEN, symbol[1:]
  if len(symbol) > 1 and symbol[0] == ")":
    return CLOSE, symbol[1:]
  return None


def _is_closing(symbol):
  """Returns whether a `t2t` symbol closes a constituent; "/" by itself is a tag."""
  return symbol.startswith("/") and len(symbol) > 1


class _Builder:
  """Builds a tree from any symbols, and repairs it."""

  def __init__(self, words: Sequence[str]) -> None:
    self._words = words
    self._leaves = []
    self._constituents = []
    self._open = []  # indices of the open constituents
    self._num_open = collections.Counter()  # label -> open constituents
    self._is_repaired = False
    self._places = []  # of the symbols so far; constituents by their places in `_constituents`

  def add(self, kind: str | None, label: str) -> None:
    """Adds the next symbol; the kind None has no meaning."""
    place = None
    if kind == OPEN:
      start = len(self._leaves)
      place = (OPEN, len(self._constituents))
      self._open.append(len(self._constituents))
      self._num_open[label] += 1
      self._constituents.append(Constituent(label, start, start))  # the end is set on closing
    elif kind == LEAF and len(self._leaves) < len(self._words):
      place = (LEAF, len(self._leaves))
      self._leaves.append(Leaf(label, self._words[len(self._leaves)]))
    elif kind == CLOSE and self._num_open[label]:
      place = (CLOSE, self._open[-1])
      while self._close() != label:
        self._is_repaired = True
        place = (CLOSE, self._open[-1])
    else:
      self._is_repaired = True
    self._places.append(place)

  def places(self, num_constituents: int) -> list[SymbolPlace]:
    """Returns what each symbol became in the tree, which has this many constituents."""
    kept = [index for index, c in enumerate(self._constituents) if c.start < c.end]
    added = num_constituents - len(kept)  # in front of these: the root, perhaps a wrapper
    number = {index: added + order for order, index in enumerate(kept)}
    places = []
    for place in self._places:
      kind, index = place or (None, 0)
      if kind in (OPEN, CLOSE):
        places.append((kind, number[index]) if index in number else None)
      else:
        places.append(place)
    return places

  def tree(self) -> tuple[Tree, bool]:
    """Returns the Tree, and whether anything was repaired."""
    missing_words = self._words[len(self._leaves) :]
    if self._open or missing_words:
      self._is_repaired = True
    while len(self._open) > 1:
      self._close()
    if missing_words and not self._open:
      self._reopen_only_root()
    self._leaves += [Leaf(UNKNOWN_TAG, word) for word in missing_words]
    while self._open:
      self._close()

    whole = (0, len(self._words))
    constituents = [c for c in self._constituents if c.start < c.end]
    if len(constituents) < len(self._constituents):
      self._is_repaired = True
    has_root = any((c.start, c.end) == whole for c in constituents)
    if self._is_repaired and constituents and not has_root:
      constituents.insert(0, Constituent(_WRAPPER, *whole))
    tree = Tree(tuple(self._leaves), (Constituent(ROOT, *whole), *constituents))
    return tree, self._is_repaired

  def _close(self):
    """Closes the innermost open constituent and returns its label."""
    index = self._open.pop()
    constituent = self._constituents[index]
    self._constituents[index] = constituent._replace(end=len(self._leaves))
    self._num_open[constituent.label] -= 1
    return constituent.label

  def _reopen_only_root(self):
    """Reopens the constituent that holds all leaves so far, if there is one."""
    whole = (0, len(self._leaves))
    for index, c in enumerate(self._constituents):
      if c.end > 0 and (c.start, c.end) == whole:
        self._open.append(index)
        return
