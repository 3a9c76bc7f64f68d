"""subword-nmt's merge operations applied to words, in n log n of a word's letters.

Its own segmenter takes n squared: minutes for a megabyte of letters.
"""

import heapq

_END = "</w>"  # at the last symbol of a word
_JOIN = "@@"  # at the end of a piece that the next one continues
_REMEMBERED = 1 << 18  # words whose pieces are kept


class Merges:
  """Words to pieces.

  Args:
    ranks: (left, right) -> place among the merge operations; the lowest is applied first.
    version: of the codes' file; in (0, 1) the end of a word is a symbol of its own.
    known: pieces that need no splitting: one that is not among them is split into what it was
      merged from, down to characters, as by subword-nmt's vocabulary filter. None: none is split.
  """

  def __init__(self, ranks, version, known=None):
    self._ranks, self._version, self._known = ranks, version, known
    self._merged_from = {}
    for pair in sorted(ranks, key=ranks.get, reverse=True):  # of two ways to a symbol, the earlier
      self._merged_from["".join(pair)] = pair
    self._pieces_of = {}

  def pieces(self, word):
    """The pieces of a word, each but the last with "@@" at its end."""
    if word not in self._pieces_of:
      if len(self._pieces_of) > _REMEMBERED:
        self._pieces_of.clear()
      *inner, last = self._symbols(word)
      marked = [*((symbol, False) for symbol in inner), (last, True)]
      if self._known is not None:
        marked = self._split(marked)
      self._pieces_of[word] = [_as_piece(*symbol) for symbol in marked]
    return self._pieces_of[word]

  def _symbols(self, word):
    """What the merges make of a word, a list."""
    if len(word) == 1:
      return [word]
    if self._version != (0, 1):
      return _merge([*word[:-1], word[-1] + _END], self._ranks)
    symbols = _merge([*word, _END], self._ranks)
    return symbols[:-1] if symbols[-1] == _END else symbols

  def _split(self, marked):
    """(symbol, whether it is the word's last) of parts that are known, or merged from nothing."""
    waiting, parts = marked[::-1], []
    while waiting:
      symbol, is_last = waiting.pop()
      left, right = self._merged_from.get(symbol, ("", ""))
      if not left or _as_piece(symbol, is_last) in self._known:
        parts.append((symbol, is_last))
      elif right == _END:
        waiting.append((left, is_last))
      else:
        waiting += [(right, is_last), (left, False)]
    return parts


def characters_of(piece):
  """The pieces of one character that a piece falls into."""
  if piece.endswith(_JOIN):
    return [character + _JOIN for character in piece.removesuffix(_JOIN)]
  return [*(character + _JOIN for character in piece[:-1]), piece[-1]]


def _as_piece(symbol, is_last):
  return symbol.removesuffix(_END) if is_last else symbol + _JOIN


def _merge(symbols, ranks):
  """The symbols after all merges.

  Of those that are possible the one of the lowest rank is made wherever it is, from left to right;
  then the next.
  """
  end = len(symbols)
  previous, following = list(range(-1, end - 1)), list(range(1, end + 1))
  pairs = enumerate(zip(symbols, symbols[1:]))
  waiting = [(ranks[pair], left, pair) for left, pair in pairs if pair in ranks]
  heapq.heapify(waiting)
  while waiting:
    rank, changed = waiting[0][0], []
    while waiting and waiting[0][0] == rank:
      _, left, pair = heapq.heappop(waiting)
      right = following[left]
      if right == end or (symbols[left], symbols[right]) != pair:
        continue  # one of them is part of another symbol by now
      symbols[left], symbols[right] = "".join(pair), None
      following[left] = following[right]
      if following[left] < end:
        previous[following[left]] = left
      changed += [previous[left], left]
    for left in changed:  # only now: new pairs of a lower rank wait until this merge is everywhere
      if left >= 0 and following[left] < end:
        pair = (symbols[left], symbols[following[left]])
        if pair in ranks:
          heapq.heappush(waiting, (ranks[pair], left, pair))
  return [symbol for symbol in symbols if symbol is not None]
