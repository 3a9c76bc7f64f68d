"""Two vocabularies in one tokenizer: sub-words of the sentence, and the symbols of its tree."""

import re

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.subwords import (
  SentencePieceTokenizer,
  SubwordNmtTokenizer,
  WordListTokenizer,
)

_WORDS, _SYMBOLS = "words_", "symbols_"  # how the names of the two sets of files begin


class ParsingTokenizer:
  """`words` cuts each word by itself, so that a word's sub-words do not depend on its neighbours; `symbols` knows whole symbols."""

  kind = "parsing"

  def __init__(self, words, symbols):
    self.words, self.symbols = words, symbols
    self._pieces_of = {}
    self._has_escapes = any("\\" in piece for piece in words.pieces(range(words.vocab_size)))

  @classmethod
  def from_files(cls, files):
    """The tokenizer of a saved folder's files."""
    words, symbols = (
      {name.removeprefix(part): content for name, content in files.items() if name.startswith(part)}
      for part in (_WORDS, _SYMBOLS)
    )
    return cls(_kind_with(words).from_files(words), WordListTokenizer.from_files(symbols))

  def files(self):
    """File name -> bytes."""
    return {
      f"{part}{name}": content
      for part, one in ((_WORDS, self.words), (_SYMBOLS, self.symbols))
      for name, content in one.files().items()
    }

  def encode_words(self, words):
    """Token ids of a sentence, without EOS. A word always has one at least, UNK if there is no other."""
    tokens = []
    for word in words:
      if word not in self._pieces_of:
        if len(self._pieces_of) > _REMEMBERED:
          self._pieces_of.clear()
        self._pieces_of[word] = self.words.encode(self._as_learned(word)) or [UNK_ID]
      tokens += self._pieces_of[word]
    return tokens

  def _as_learned(self, word):
    """The word as its treebank writes it: the Penn Treebank has \\/ and \\*, others plain ones."""
    return word if self._has_escapes else re.sub(r"\\([/*])", r"\1", word)


_REMEMBERED = 1 << 18  # words whose sub-words are kept


def _kind_with(files):
  """The class that saves files of these names."""
  if "sentencepiece.model" in files:
    return SentencePieceTokenizer
  return SubwordNmtTokenizer if "codes.txt" in files else WordListTokenizer
