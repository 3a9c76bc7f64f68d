"""The merge operations of subword-nmt, applied to a word of n letters in O(n log n).

The library's own segmenter takes O(n^2): minutes for a megabyte of letters.
"""

import functools
import heapq
import itertools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from transformer_jax.data.tokenizers.pieces import WordCache

_END = "</w>"  # at the end of a word's last symbol
JOIN = "@@"  # at the end of a piece that the next one continues


class Merges:
  """Splits words into pieces.

  Args:
    ranks: (left, right) -> rank of this merge operation; the lowest is applied first.
    version: version of the codes' file; in (0, 1) the end of a word is a symbol of its own.
    known: pieces that are kept whole. Others are split into the parts they were merged from, down
      to characters, as by subword-nmt's vocabulary filter. None: nothing is split.
  """

  def __init__(
    self,
    ranks: Mapping[tuple[str, str], int],
    version: tuple[int, ...],
    known: Container[str] | None = None,
  ) -> None:
    self._ranks = ranks
    self._version = version
    self._known = known
    self._merged_from = {}  # symbol -> the pair of lowest rank that makes it
    for pair in sorted(ranks, key=ranks.__getitem__, reverse=True):
      self._merged_from["".join(pair)] = pair
    self._cache = WordCache(self._split)

  def pieces(self, word: str) -> list[str]:
    """Returns the pieces of a word, each but the last with "@@" at its end."""
    return self._cache[word]

  def random_pieces(self, word: str, rate: float, draw: Callable[[], float]) -> list[str]:
    """Returns the pieces of a word by BPE-dropout; see `merge_with_dropout`."""
    return self._split(word, functools.partial(merge_with_dropout, rate=rate, draw=draw))

  def random_vocabulary(self, pieces: Iterable[str]) -> set[str]:
    """Returns all pieces that words can be cut into at random, given those of their fixed cut.

    They are the letters, and what each merge makes.
    """
    found = {letter for piece in pieces for letter in split_characters(piece)}
    for left, right in self._ranks:
      symbol = left + right
      found.add(_as_piece(symbol, is_last=symbol.endswith(_END)))
    return found

  def _split(self, word, merge=None):
    *inner, last = self._symbols(word, merge or _merge)
    parts = [(symbol, False) for symbol in inner]  # (symbol, whether it is the word's last)
    parts.append((last, True))
    if self._known is not None:
      parts = self._split_unknown(parts)
    return [_as_piece(symbol, is_last) for symbol, is_last in parts]

  def _symbols(self, word, merge):
    """Returns the symbols that `merge` makes of a word."""
    if len(word) == 1:
      return [word]
    if self._version != (0, 1):
      return merge([*word[:-1], word[-1] + _END], self._ranks)
    symbols = merge([*word, _END], self._ranks)
    return symbols[:-1] if symbols[-1] == _END else symbols

  def _split_unknown(self, parts):
    """Returns the parts; unknown ones are split until all parts are known or unsplittable."""
    waiting = parts[::-1]
    found = []
    while waiting:
      symbol, is_last = waiting.pop()
      left, right = self._merged_from.get(symbol, ("", ""))
      if not left or _as_piece(symbol, is_last) in self._known:
        found.append((symbol, is_last))
      elif right == _END:
        waiting.append((left, is_last))
      else:
        waiting += [(right, is_last), (left, False)]
    return found


def split_characters(piece: str) -> list[str]:
  """Returns the one-character pieces that spell a piece."""
  if piece.endswith(JOIN):
    return [character + JOIN for character in piece.removesuffix(JOIN)]
  inner = [character + JOIN for character in piece[:-1]]
  return [*inner, piece[-1]]


def merge_with_dropout(
  symbols: Sequence[str],
  ranks: Mapping[tuple[str, str], int],
  rate: float,
  draw: Callable[[], float],
) -> list[str]:
  """Returns the symbols after merges at random: BPE-dropout (Provilkov et al. 2020, Algorithm 1).

  In each step every possible merge is left out with probability `rate`. Of the others the one of
  the lowest rank is made, at all its places that are not left out. It ends with a step in which no
  merge is left. subword-nmt's own dropout is the same. Rate 0 makes all merges.

  Args:
    symbols: characters of a word.
    ranks: (left, right) -> rank of this merge.
    rate: probability of leaving a merge out.
    draw: returns a random number in [0, 1).
  """
  symbols = list(symbols)
  while True:
    best, places = None, []
    for place, pair in enumerate(itertools.pairwise(symbols)):
      rank = ranks.get(pair)
      if rank is None or draw() < rate:
        continue
      if best is None or rank < best[0]:
        best, places = (rank, pair), [place]
      elif (rank, pair) == best:
        places.append(place)
    if best is None:
      return symbols
    symbols = _merge_at(symbols, places)


def _merge_at(symbols: list[str], places: Sequence[int]) -> list[str]:
  """Returns the symbols with those at each place and after it merged, unless they overlap."""
  merged = []
  end = 0  # of what is done
  for place in places:
    if place >= end:
      merged += symbols[end:place]
      merged.append(symbols[place] + symbols[place + 1])
      end = place + 2
  return merged + symbols[end:]


def _as_piece(symbol, is_last):
  return symbol.removesuffix(_END) if is_last else symbol + JOIN


def _merge(symbols, ranks):
  """Returns the symbols after all merges.

  Of the possible merges the one of the lowest rank is made everywhere, from left to right; then the
  next. `previous` and `following` link the symbols that are left; a merged one becomes None.
  """
  end = len(symbols)
  previous = list(range(-1, end - 1))
  following = list(range(1, end + 1))
  waiting = []  # (rank, index of the left symbol, pair)
  for left, pair in enumerate(itertools.pairwise(symbols)):
    if pair in ranks:
      waiting.append((ranks[pair], left, pair))
  heapq.heapify(waiting)
  while waiting:
    rank = waiting[0][0]
    changed = []
    while waiting and waiting[0][0] == rank:
      _, left, pair = heapq.heappop(waiting)
      right = following[left]
      if right == end or (symbols[left], symbols[right]) != pair:
        continue  # one of them is part of another symbol by now
      symbols[left] = "".join(pair)
      symbols[right] = None
      following[left] = following[right]
      if following[left] < end:
        previous[following[left]] = left
      changed += [previous[left], left]
    for left in changed:  # not earlier: pairs of a lower rank wait until this merge is done
      if left >= 0 and following[left] < end:
        pair = (symbols[left], symbols[following[left]])
        if pair in ranks:
          heapq.heappush(waiting, (ranks[pair], left, pair))
  return [symbol for symbol in symbols if symbol is not None]
