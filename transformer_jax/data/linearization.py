"""Trees as sequences of symbols and back (Section 6.3), and the repair of sequences that are no tree.

Two styles. `vinyals` (Vinyals et al. 2015): "(S (NP XX )NP (VP XX )VP )S", every word is XX. `t2t` (the authors' code):
"S NP NNP /NP VP VBZ /VP /S", words are their tags. TOP, which is around every tree, is left out in both.
"""

import collections

from transformer_jax.data.trees import ROOT, UNKNOWN_TAG, Constituent, Leaf, Tree, bracket_events

OPEN, LEAF, CLOSE = "open", "leaf", "close"

_WRAPPER = "S"  # put around the roots of a repaired sequence that has several
_ESCAPE = "="  # before a tag that `t2t` could not tell from a bracket, such as one that is the label of an open constituent too
_LABEL_ESCAPE = "\\"  # before a label of `t2t` that begins as no label of a treebank does


def linearize(tree, style):
  """The symbols of a clean tree, a list."""
  is_vinyals = style == "vinyals"
  symbols, open_labels, counts = [], [], collections.Counter()
  for kind, value in bracket_events(Tree(tree.leaves, tree.constituents[1:])):
    if kind != LEAF and not is_vinyals:
      value = _label_symbol(value)
    if kind == OPEN:
      symbols.append(f"({value}" if is_vinyals else value)
      open_labels.append(value)
      counts[value] += 1
    elif kind == CLOSE:
      symbols.append(f"){value}" if is_vinyals else f"/{value}")
      counts[open_labels.pop()] -= 1
    else:
      symbols.append(UNKNOWN_TAG if is_vinyals else _escaped(value.tag, counts))
  return symbols


def _label_symbol(label):
  """The symbol of a label: itself, unless it would be read as a closing or an escaped tag."""
  return _LABEL_ESCAPE * label.startswith(("/", _ESCAPE, _LABEL_ESCAPE)) + label


def _label_of(symbol):
  """What `_label_symbol` made the symbol of."""
  return symbol[1:] if symbol.startswith(_LABEL_ESCAPE) and len(symbol) > 1 else symbol


def _escaped(tag, open_counts):
  """The symbol of a tag: itself, unless it would be read as a bracket."""
  return _ESCAPE * (open_counts[tag] > 0 or tag[0] in f"/{_ESCAPE}") + tag


def symbol_kinds(symbols, style):
  """What each symbol of a vocabulary does: a list of (OPEN | LEAF | CLOSE, label), or None for one that does nothing.

  In `t2t` a symbol opens if the one that closes it is known too. A tag that is also a label then only counts as a label.
  """
  known = set(symbols)
  return [_kind(symbol, style, lambda label: f"/{label}" in known) for symbol in symbols]


def to_tree(symbols, words, style, labels=()):
  """The tree over exactly `words` that a sequence of symbols describes, and whether it had to be repaired.

  Repair: a closing without its opening is dropped; one that closes an outer constituent closes the inner ones too; what is
  left open is closed at the end; leaves beyond the words are dropped; words without leaves become the last children
  of the root; a constituent without words is dropped; several roots go into one S.

  Args:
    symbols: any strings.
    words: at least one word.
    style: "vinyals" or "t2t".
    labels: in `t2t`, labels that are known: such a symbol opens even if nothing closes it.

  Returns:
    (Tree, bool)
  """
  builder = _Builder(words)
  for kind, label in _kinds_in_place(symbols, style, labels):
    is_label = style == "t2t" and kind != LEAF
    builder.take(kind, _label_of(label) if is_label else label)
  return builder.tree()


def _kinds_in_place(symbols, style, labels):
  """The kind of each symbol where it stands. A `t2t` symbol opens if a closing of its label matches it further on, or its label is known."""
  if style == "vinyals":
    return [_kind(symbol, style) or (None, None) for symbol in symbols]
  kinds, closings = [], collections.Counter()
  waiting = []  # labels of the closings on the right that no opening has met, innermost last
  for symbol in reversed(symbols):
    if symbol.startswith("/") and len(symbol) > 1:
      kinds.append((CLOSE, symbol[1:]))
      waiting.append(symbol[1:])
      closings[symbol[1:]] += 1
    elif closings[symbol]:
      while (label := waiting.pop()) != symbol:  # those in between have no opening
        closings[label] -= 1
      closings[symbol] -= 1
      kinds.append((OPEN, symbol))
    elif symbol in labels:
      kinds.append((OPEN, symbol))
    else:
      kinds.append(
        (LEAF, symbol[len(_ESCAPE) :] if symbol.startswith(_ESCAPE) and len(symbol) > 1 else symbol)
      )
  return kinds[::-1]


def _kind(symbol, style, is_label=lambda label: False):
  if style == "vinyals":
    if symbol == UNKNOWN_TAG:
      return LEAF, UNKNOWN_TAG
    if len(symbol) > 1 and symbol[0] in "()":
      return (OPEN if symbol[0] == "(" else CLOSE), symbol[1:]
    return None
  if symbol.startswith("/") and len(symbol) > 1:
    return CLOSE, symbol[1:]
  return (OPEN if is_label(symbol) else LEAF), symbol


class _Builder:
  """Puts a tree together from symbols that need not make one."""

  def __init__(self, words):
    self._words = words
    self._leaves, self._constituents = [], []
    self._open = []  # places of the open constituents
    self._open_labels = collections.Counter()
    self._is_repaired = False

  def take(self, kind, label):
    """The next symbol; None is one that means nothing."""
    if kind == OPEN:
      self._open.append(len(self._constituents))
      self._open_labels[label] += 1
      self._constituents.append(Constituent(label, len(self._leaves), None))
    elif kind == LEAF and len(self._leaves) < len(self._words):
      self._leaves.append(Leaf(label, self._words[len(self._leaves)]))
    elif kind == CLOSE and self._open_labels[label]:
      while self._close() != label:
        self._is_repaired = True
    else:
      self._is_repaired = True

  def tree(self):
    """(Tree, whether anything was repaired)."""
    missing = self._words[len(self._leaves) :]
    self._is_repaired |= bool(self._open or missing)
    while len(self._open) > 1:
      self._close()
    if missing and not self._open:
      self._open += self._sole_root()
    self._leaves += [Leaf(UNKNOWN_TAG, word) for word in missing]
    while self._open:
      self._close()
    whole = (0, len(self._words))
    constituents = [c for c in self._constituents if c.start < c.end]
    self._is_repaired |= len(constituents) < len(self._constituents)
    if self._is_repaired and constituents and not any(c[1:] == whole for c in constituents):
      constituents.insert(0, Constituent(_WRAPPER, *whole))
    return Tree(tuple(self._leaves), (Constituent(ROOT, *whole), *constituents)), self._is_repaired

  def _close(self):
    place = self._open.pop()
    label, start, _ = self._constituents[place]
    self._constituents[place] = Constituent(label, start, len(self._leaves))
    self._open_labels[label] -= 1
    return label

  def _sole_root(self):
    """The place of the constituent that holds all leaves so far, in a list; an empty list if there is none."""
    return [
      place
      for place, c in enumerate(self._constituents)
      if c.end and c[1:] == (0, len(self._leaves))
    ][:1]
