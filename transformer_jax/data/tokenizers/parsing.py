"""Two vocabularies in one tokenizer: sub-words of the sentence, and the symbols of its tree."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Self

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.bpe import JOIN
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
    pieces = words.pieces(range(words.vocab_size))
    if isinstance(words, SentencePieceTokenizer):
      self._marks = bytes(piece.startswith(WORD_MARK) for piece in pieces)
      self._unknown_word = [pieces.index(WORD_MARK), UNK_ID] if WORD_MARK in pieces else [UNK_ID]
    else:
      self._marks = bytes(2) + bytes(not piece.endswith(JOIN) for piece in pieces[2:])  # PAD, EOS
      self._unknown_word = [UNK_ID]
    self._has_escapes = any("\\" in piece for piece in pieces)

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
    """Returns the token ids of a sentence, without EOS; each word has exactly one that shows it."""
    tokens = []
    for word in words:
      tokens += self._cache[word]
    return tokens

  def word_marks(self) -> bytes:
    """Returns for each sub-word a byte, 1 if it shows a word.

    Sub-words of SentencePiece show where a word begins, others where it ends.
    """
    return self._marks

  def _encode_word(self, word: str) -> list[int]:
    """Returns the sub-words of a word; exactly one of them shows it, as `word_marks` has them."""
    text = self._as_in_treebank(word)
    tokens = self.words.encode(text)
    if not self._is_one_word(tokens):
      tokens = self.words.encode(_without_borders(text))
    if not self._is_one_word(tokens):
      # Of the unknown only the last may show a word; of SentencePiece's none does.
      known = [token for token in tokens[:-1] if token != UNK_ID]
      tokens = known + tokens[-1:]
    return tokens if self._is_one_word(tokens) else self._unknown_word

  def _is_one_word(self, tokens: list[int]) -> bool:
    return sum(self._marks[token] for token in tokens) == 1

  def _as_in_treebank(self, word):
    """Returns a word as its treebank writes it: \\/ and \\* in the Penn Treebank, else / and *."""
    return word if self._has_escapes else re.sub(r"\\([/*])", r"\1", word)


def _without_borders(word):
  """Returns a word without what SentencePiece takes for the border of two words."""
  letters = unicodedata.normalize("NFKC", word).replace(WORD_MARK, "")
  return "".join(letter for letter in letters if unicodedata.category(letter)[0] not in "ZC")


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
