"""Each sub-word finds its word of the raw line, through all that is done to text between."""

import pytest

from transformer_jax.data.preprocessing import Preprocessor
from transformer_jax.data.words_of_pieces import words_of, words_of_pieces


@pytest.mark.parametrize(
  "pieces, line, words",
  [
    (["▁Ich", "▁ge", "he", "."], "Ich gehe.", [0, 1, 1, 1]),
    (["▁", "Zug", "▁", "an"], "Zug an", [0, 0, 1, 1]),  # a piece of a space: the word after it
    (["ich", "", "an", "▁"], "ich an", [0, None, 1, None]),  # nothing; a space at the end
    (["i", "bin"], "  I\t bin ", [0, 1]),
    (["ｈｅ", "½"], "he 1⁄2", [0, 1]),  # width and fractions
    (["strasse", "cafe\u0301"], "Straße Café", [0, 1]),
    (["&apos;", "s", "&quot;", "&amp;", "apos;"], "'s \"&apos;", [0, 0, 1, 1, 1]),
    (["&qu", "ot;", "a"], '"a b', [0, 0, 0]),  # an escape that is split
    (['"', "a", '"', "b"], "''a'' „b", [0, 0, 0, 1]),
    (["a", "...", "b"], "a… b", [0, 0, 1]),
    (["for", "ty", "two"], "for@@ ty two", [0, 1, 2]),  # a line that is segmented already
    (["a", "b"], "a \u200b b", [0, 2]),  # what is dropped is a word of the line, nevertheless
    (["a", "b"], "", [None, None]),
    ([], "a b", []),
    (["x", "y"], "a b", [0, 1]),  # nothing in common: one for one
    (["漢", "字", "だ"], "漢字 た\u3099", [0, 0, 1]),
  ],
)
def test_words_of_pieces(pieces, line, words):
  assert words_of_pieces([piece.replace("▁", " ") for piece in pieces], line) == words


@pytest.mark.parametrize("kind", ["moses", "moses_lowercase"])
def test_moses_and_back(kind):
  """Punctuation is split off and quotes are rewritten; a token knows its word on both sides."""
  line = "„Ja“, sagte Dr. Müller's Ärztin… (um 8.30 Uhr) & ging <weg> – 'so' [a|b]!"
  preprocessor = Preprocessor(kind, "de")
  preprocessed = preprocessor(line)
  tokens = preprocessed.split(" ")
  assert len(tokens) > len(words_of(line))
  words = words_of_pieces(tokens, line)
  assert words == sorted(words) and set(words) == set(range(len(words_of(line))))
  for token, word in zip(tokens, words, strict=True):
    if token.isalpha():
      assert token.lower() in words_of(line)[word].lower()
  undone = preprocessor.undo(preprocessed)
  for token, word in zip(tokens, words_of_pieces(tokens, undone), strict=True):
    if token.isalpha():
      assert token in words_of(undone)[word]


def test_a_long_line_takes_no_longer_than_its_length():
  line = "ab-c " * 20_000
  assert words_of_pieces(["ab", "@-@", "c"] * 20_000, line)[-1] == 19_999
