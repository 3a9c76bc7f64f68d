"""The tokenizer of a Marian model, such as those of OPUS-MT: a SentencePiece model for each side.

One vocabulary gives the pieces of both models their ids.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Self

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.pieces import (
  SPECIAL_PIECES,
  WORD_MARK,
  texts_without_unknown,
  tokens_before_eos,
  with_spaces,
)
from transformer_jax.data.tokenizers.sentencepiece import library
from transformer_jax.errors import DataError

SOURCE, TARGET, VOCABULARY = "source.spm", "target.spm", "vocab.json"
FILES = (SOURCE, TARGET, VOCABULARY)


class MarianTokenizer:
  """Two SentencePiece models and one vocabulary. A text may begin with a token such as ">>deu<<".

  That token names the language to translate into, where a model has several. Pieces that the
  vocabulary lacks are UNK.

  Args:
    files: the contents of FILES by name, as they are in the model's folder.

  Raises:
    DataError: one of them is damaged; names it.
  """

  kind = "marian"
  vocab_size: int

  def __init__(self, files: Mapping[str, bytes]) -> None:
    self._files = {name: files[name] for name in FILES}
    self._source = _processor(files[SOURCE], SOURCE)
    self._target = _processor(files[TARGET], TARGET)
    self._marian_ids = _read_vocabulary(files[VOCABULARY])
    by_id = {number: piece for piece, number in self._marian_ids.items()}
    self._pieces = [by_id[number] for number in self.marian_order()]
    self._ids = {piece: number for number, piece in enumerate(self._pieces)}
    for piece in SPECIAL_PIECES:  # text that spells a special piece is unknown text
      del self._ids[piece]
    self.vocab_size = len(self._pieces)

  @classmethod
  def from_files(cls, files: dict[str, bytes]) -> Self:
    """Returns the tokenizer of a saved folder's files."""
    return cls(files)

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content."""
    return self._files

  def marian_order(self) -> list[int]:
    """Returns the ids of vocab.json in the order of ours: PAD, EOS, UNK, then the others."""
    first = [self._marian_ids[piece] for piece in SPECIAL_PIECES]
    return [*first, *(number for number in range(len(self._marian_ids)) if number not in first)]

  def encode(self, text: str, is_target: bool = False) -> list[int]:
    """Returns the token ids of a text, without EOS, by the model of its side."""
    return [self._ids.get(piece, UNK_ID) for piece in self._segment(text, is_target)]

  def texts(self, text: str, is_target: bool = False) -> list[str]:
    """Returns the text that each token of `encode(text)` stands for, normalized as it does."""
    return with_spaces(self._segment(text, is_target))

  def texts_of(self, tokens: Iterable[int]) -> list[str]:
    """Returns what each token gives to the text of `decode`."""
    tokens = list(tokens)
    return texts_without_unknown(tokens, self.pieces(tokens))

  def _segment(self, text, is_target):
    """Returns the pieces of a text, known or not."""
    language, text = _split_language(text)
    processor = self._target if is_target else self._source
    return [*language, *processor.encode(text, out_type=str)]

  def decode(self, tokens: Iterable[int]) -> str:
    """Returns the text of target tokens before the first EOS, without UNK."""
    pieces = self.pieces(token for token in tokens_before_eos(tokens) if token != UNK_ID)
    # Pieces that only the source's model has keep their mark of a space.
    return self._target.decode(pieces).replace(WORD_MARK, " ").strip() if pieces else ""

  def pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns each token's piece."""
    return [self._pieces[int(token)] for token in tokens]


def _split_language(text: str) -> tuple[list[str], str]:
  """Returns ([the language token that a text begins with] or [], the rest)."""
  end = text.find("<<")
  if not text.startswith(">>") or end < 0:
    return [], text
  return [text[: end + 2]], text[end + 2 :]


def _processor(content: bytes, name: str):
  problem = DataError(name, "is not a SentencePiece model", "restore it")
  if not content:  # the library would take it for no model yet
    raise problem
  try:
    return library().SentencePieceProcessor(model_proto=content)
  except RuntimeError:
    raise problem from None


def _read_vocabulary(content: bytes) -> dict[str, int]:
  """Returns piece -> id of vocab.json; n pieces have the ids 0 to n - 1.

  Raises:
    DataError: they are not, or PAD, EOS or UNK is missing.
  """
  try:
    vocabulary = json.loads(content)
    numbers = sorted(vocabulary.values())
  except (ValueError, AttributeError, TypeError, RecursionError):
    raise DataError(VOCABULARY, "is not a JSON object of pieces and ids", "restore it") from None
  if numbers != list(range(len(numbers))) or set(map(type, numbers)) - {int}:
    raise DataError(VOCABULARY, f"does not number its pieces from 0 to {len(numbers) - 1}")
  for piece in SPECIAL_PIECES:
    if piece not in vocabulary:
      raise DataError(VOCABULARY, f"has no piece {piece}")
  return vocabulary
