"""Moses' scripts through sacremoses, against the output of the real scripts; words by NLTK."""

import re
import sys
import unicodedata

import pytest

from transformer_jax.data import preprocessing
from transformer_jax.data.preprocessing import Preprocessor, penn_tokenize
from transformer_jax.data.text import read_lines
from transformer_jax.errors import DataError


@pytest.mark.parametrize(
  "language, split, lines, most_different",
  [
    ("en", "valid", 1014, 0),
    ("en", "test2016", 1000, 0),
    ("de", "test2016", 1000, 0),
    # the scripts move a full stop out of German quotes, and sacremoses does not
    ("de", "valid", 1014, 1),
  ],
)
def test_agrees_with_the_scripts(shared_data, language, split, lines, most_different):
  preprocess = Preprocessor("moses_lowercase", language)
  folder = shared_data / "multi30k"
  made = [preprocess(line) for line in read_lines(folder / f"{split}.{language}.gz")]
  expected = list(read_lines(folder / "tok" / f"{split}.lc.norm.tok.{language}.gz"))
  assert len(made) == len(expected) == lines
  assert sum(a != b for a, b in zip(made, expected, strict=True)) <= most_different


def test_tokenizes_and_keeps_case():
  """English punctuation moves into the quotes, as in Moses' normalize-punctuation."""
  pytest.importorskip("sacremoses")
  english = Preprocessor("moses", "en")("It's a “test”, isn't it?")
  assert english == "It &apos;s a &quot; test , &quot; isn &apos;t it ?"
  german = Preprocessor("moses_lowercase", "de")("Ein Mann, 3.000 Äpfel & z.B. Öl.")
  assert german == "ein mann , 3.000 äpfel &amp; z.b. öl ."


@pytest.mark.parametrize(
  "text", ["It's a test, isn't it?", "A man (in blue) walks: 50% off; A & B.", "x", ""]
)
def test_undo_restores_plain_text(text):
  pytest.importorskip("sacremoses")
  preprocess = Preprocessor("moses", "en")
  assert preprocess.undo(preprocess(text)) == text


def test_one_line_in_one_line_out():
  """No character becomes a line end."""
  pytest.importorskip("sacremoses")
  line_ends = ["a\u2028b", "a\rb", "a\x0bb\x0cc\x85d"]
  others = ["\0", "\ufeff", "\ufffd\ufffd", " \t ", "e\u0301", "\U0001f600"]
  for text in line_ends + others:
    assert len(Preprocessor("moses", "en")(text).splitlines()) <= 1


def test_none_leaves_text_alone():
  preprocess = Preprocessor("none", "en")
  assert preprocess("It's  a\u00a0test ") == "It's  a\u00a0test "
  assert preprocess.undo("isn &apos;t") == "isn &apos;t"


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacremoses", None)
  preprocessing._moses.cache_clear()
  with pytest.raises(DataError, match="pip install sacremoses"):
    Preprocessor("moses", "en")("text")
  assert Preprocessor("none", "en")("text") == "text"


def test_a_letter_and_its_accent_stay_together():
  """macOS and some programs write them as two characters."""
  pytest.importorskip("sacremoses")
  for kind in ("moses", "moses_lowercase"):
    preprocess = Preprocessor(kind, "de")
    for text in ("Schön, daß Ñandús übel riechen.", "tiếng Việt", "a\u0315b"):
      assert preprocess(unicodedata.normalize("NFD", text)) == preprocess(text)


@pytest.mark.parametrize("text", ["\u2126", "\u212b", "\u0958", "\uf900"])
def test_other_text_is_not_composed(text):
  """NFC would replace these characters; earlier runs were trained on them as they are."""
  pytest.importorskip("sacremoses")
  assert text in Preprocessor("moses", "en")(text)


@pytest.mark.parametrize(
  "language, like, said",
  [
    ("de_DE", "de", "'de_DE'.*'de'"),
    ("en-US", "en", "'en-US'.*'en'"),
    ("ZH", "zh", "'ZH'"),
    ("xx", "xx", "'xx'.*English"),
    ("", "", "''.*English"),
    ("de", "de", ""),
    ("ja", "ja", ""),
  ],
)
def test_a_language_that_moses_does_not_know_is_reported(language, like, said, capsys):
  pytest.importorskip("sacremoses")
  preprocessing._moses.cache_clear()
  made = Preprocessor("moses", language)("It's z.B. Mr. Ok.")
  Preprocessor("moses", language)("again")
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == bool(said) and all(re.search(said, line) for line in lines)
  assert made == Preprocessor("moses", like)("It's z.B. Mr. Ok.")


STRAIGHT = str.maketrans("“”‘’", "\"\"''")


@pytest.mark.parametrize(
  "text, words",
  [
    ("“Stop,” she said.", "`` Stop , '' she said ."),
    ("It’s Anna’s; they don’t care.", "It 's Anna 's ; they do n't care ."),
    ("(“Yes.”)", "-LRB- `` Yes . '' -RRB-"),
    ("He—“the man”—left…", "He -- `` the man '' -- left ..."),
    ("“Why?”", "`` Why ? ''"),
    ("“a” “b”", "`` a '' `` b ''"),
    ("„a” «b»", "`` a '' `` b ''"),
    ("He said, “She’s ‘here.’”", "He said , `` She 's 'here . ' ''"),
    ("Ｏk，（yes）！", "Ｏk , -LRB- yes -RRB- !"),
  ],
)
def test_typographic_marks_are_cut_and_written_as_a_treebank_does(text, words):
  pytest.importorskip("nltk")
  assert penn_tokenize(text) == words
  assert len(penn_tokenize(text.translate(STRAIGHT)).split()) == len(words.split())


@pytest.mark.parametrize(
  "text, words",
  [
    ("He owns 1/2 of it.", "He owns 1\\/2 of it ."),
    ("1\\/2 and/or", "1\\/2 and\\/or"),
    ("2 * 3", "2 \\* 3"),
    ("a * \\*", "a \\* \\*"),
    ("／", "\\/"),
  ],
)
def test_slashes_and_stars_are_written_as_the_treebank_does(text, words):
  pytest.importorskip("nltk")
  assert penn_tokenize(text) == words
