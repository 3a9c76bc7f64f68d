"""Words are looked up as their treebank writes them, in whatever form they come."""

import pytest
from small_tokenizers import settings

from transformer_jax.config import UNK_ID
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.tokenizers.subword_nmt import SubwordNmtTokenizer, learn_bpe
from transformer_jax.data.tokenizers.word_list import WordListTokenizer


def of_words(words):
  return ParsingTokenizer(WordListTokenizer(words), WordListTokenizer([]))


@pytest.mark.parametrize(
  "known, word",
  [("1/2", "1\\/2"), ("1/2", "1/2"), ("*", "\\*"), ("1\\/2", "1\\/2"), ("\\*", "\\*")],
)
def test_a_treebank_without_escapes_reads_escaped_words(known, word):
  tokenizer = of_words(["a", known])
  assert tokenizer.encode_words(["a", word]) == [3, 4]


def test_a_treebank_with_escapes_keeps_them():
  """A run that was trained on both forms continues unchanged."""
  tokenizer = of_words(["1/2", "1\\/2", "2/3"])
  assert tokenizer.encode_words(["1\\/2", "1/2", "2\\/3"]) == [4, 3, UNK_ID]


def test_an_escaped_word_has_the_sub_words_of_the_word():
  texts = ["a/b a/b a/b c/d c/d"] * 3
  words = SubwordNmtTokenizer.train(settings(bpe_merges=5, vocab_size=100), texts, ".")
  tokenizer = ParsingTokenizer(words, WordListTokenizer([]))
  assert tokenizer.encode_words(["a\\/b"]) == tokenizer.encode_words(["a/b"]) == words.encode("a/b")
  assert "/" in learn_bpe(texts, 5)
