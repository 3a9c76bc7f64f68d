"""Special pieces, words and counts of pieces, which all tokenizers use."""

import collections
from collections.abc import Callable, Iterable

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID

_MOST_CACHED = 1 << 18  # words whose pieces are kept
_LONGEST_CACHED = 40  # letters; longer ones are rare, or whole sentences in scripts without spaces

SPECIAL_PIECES = ("<pad>", "</s>", "<unk>")  # ids 0, 1, 2 of every vocabulary
WORD_MARK = "▁"  # SentencePiece's, where a piece has a space


class WordCache(dict[str, list]):
  """word -> what `compute` makes of it, computed when it is first asked for.

  Most words of a text have come before, so it saves most of the work. A full cache begins anew.
  """

  def __init__(self, compute: Callable[[str], list]) -> None:
    super().__init__()
    self._compute = compute

  def __missing__(self, word: str) -> list:
    value = self._compute(word)
    if len(word) > _LONGEST_CACHED:
      return value
    if len(self) > _MOST_CACHED:
      self.clear()
    self[word] = value
    return value

  def __reduce__(self) -> tuple:
    return WordCache, (self._compute,)


def split_at_spaces(text: str) -> list[str]:
  """Returns the space-separated words; other white space belongs to the words."""
  return [word for word in text.split(" ") if word]


def tokens_before_eos(tokens: Iterable[int]) -> list[int]:
  """Returns the token ids before the first EOS, without PAD."""
  found = []
  for token in map(int, tokens):
    if token == EOS_ID:
      break
    if token != PAD_ID:
      found.append(token)
  return found


def count_pieces(texts: Iterable[list[str]]) -> collections.Counter[str]:
  """Returns piece -> its count in texts, which are lists of pieces; special pieces are left out."""
  counts = collections.Counter()
  for pieces in texts:
    counts.update(pieces)
  for piece in SPECIAL_PIECES:
    counts.pop(piece, None)
  return counts


def sort_by_frequency(counts: collections.Counter[str]) -> list[str]:
  """Returns the pieces, the most frequent first, equally frequent ones in alphabetical order."""
  return sorted(counts, key=lambda piece: (-counts[piece], piece))


def most_frequent(texts: Iterable[list[str]], vocab_size: int) -> list[str]:
  """Returns the most frequent pieces that fit a vocabulary which also has the special pieces."""
  return sort_by_frequency(count_pieces(texts))[: vocab_size - len(SPECIAL_PIECES)]


def with_spaces(pieces: Iterable[str]) -> list[str]:
  """Returns pieces with spaces in place of SentencePiece's mark."""
  return [piece.replace(WORD_MARK, " ") for piece in pieces]


def texts_without_unknown(tokens: Iterable[int], pieces: Iterable[str]) -> list[str]:
  """Returns the texts of tokens and their pieces; UNK has none, as `decode` leaves it out."""
  texts = zip(tokens, with_spaces(pieces), strict=True)
  return ["" if token == UNK_ID else text for token, text in texts]
