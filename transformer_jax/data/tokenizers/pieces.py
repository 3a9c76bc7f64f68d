"""Special pieces, words and counts of pieces, which all tokenizers use."""

import collections
from collections.abc import Iterable

from transformer_jax.config import EOS_ID, PAD_ID

SPECIAL_PIECES = ("<pad>", "</s>", "<unk>")  # ids 0, 1, 2 of every vocabulary


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
