"""Two vocabularies in one tokenizer: sub-words of the sentence, and the symbols of its tree."""

import re
from collections.abc import Iterable
from typing import Self

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.pieces import WORD_MARK, WordCache
from transformer_jax.data.tokenizers.sentencepiece import SentencePieceTokenizer
from transformer_jax.data.tokenizers.subword_nmt import SubwordNmtTokenizer
from transformer_jax.data.tokenizers.tokenizer import Tokenizer
from transformer_jax.data.tokenizers.word_list import WordListTokenizer

# How the names of the two sets of files begin.
_WORDS = "words_"
_SYMBOLS = "symbols_"


class ParsingTokenizer:
  """A tokenizer for the words of sentences and one for the symbols of trees.

  Args:
    words: applied to each word by itself, so that its sub-words do not depend on its neighbors.
    symbols: of whole symbols.
  """

  kind = "parsing"
  words: Tokenizer
  symbols: WordListTokenizer

  def __init__(self, words: Tokenizer, symbols: WordListTokenizer) -> None:
    self.words = words
    self.symbols = symbols
    self._cache = WordCache(self._encode_word)
    self._has_escapes = any("\\" in piece for piece in words.pieces(range(words.vocab_size)))

  @classmethod
  def from_files(cls, files: dict[str, bytes]) -> Self:
    """Returns the tokenizer of a saved folder's files."""
    words = _without_prefix(files, _WORDS)
    symbols = _without_prefix(files, _SYMBOLS)
    return cls(_words_tokenizer(words), WordListTokenizer.from_files(symbols))

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content."""
    words = {f"{_WORDS}{name}": content for name, content in self.words.files().items()}
    symbols = {f"{_SYMBOLS}{name}": content for name, content in self.symbols.files().items()}
    return {**words, **symbols}

  def encode_words(self, words: Iterable[str]) -> list[int]:
    """Returns the token ids of a sentence, without EOS; each word has at least one, perhaps UNK."""
    tokens = []
    for word in words:
      tokens += self._cache[word]
    return tokens

  def word_marks(self) -> bytes:
    """Returns for each sub-word a byte, 1 if it shows a word.

    Sub-words of SentencePiece show where a word begins, others where it ends.
    """
    pieces = self.words.pieces(range(self.words.vocab_size))
    if any(piece.startswith(WORD_MARK) for piece in pieces):
      return bytes(piece.startswith(WORD_MARK) for piece in pieces)
    return bytes(not piece.endswith("@@") for piece in pieces)

  def _encode_word(self, word: str) -> list[int]:
    return self.words.encode(self._as_in_treebank(word)) or [UNK_ID]

  def _as_in_treebank(self, word):
    """Returns a word as its treebank writes it: \\/ and \\* in the Penn Treebank, else / and *."""
    return word if self._has_escapes else re.sub(r"\\([/*])", r"\1", word)


def _without_prefix(files, prefix):
  """Returns the files whose names begin with `prefix`, by the rest of their names."""
  return {
    name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)
  }


def _words_tokenizer(files):
  """Returns the tokenizer of these files, whose names tell its kind."""
  if "sentencepiece.model" in files:
    return SentencePieceTokenizer.from_files(files)
  if "codes.txt" in files:
    return SubwordNmtTokenizer.from_files(files)
  return WordListTokenizer.from_files(files)
