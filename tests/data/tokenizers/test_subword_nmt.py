"""subword-nmt: the library's own known answers, and vocabularies that spell every word."""

import io
import itertools
import random

import pytest
from small_tokenizers import TEXTS, trained

from transformer_jax.config import UNK_ID
from transformer_jax.data.text import read_lines
from transformer_jax.data.tokenizers.folder import load_tokenizer, save_tokenizer
from transformer_jax.data.tokenizers.subword_nmt import SubwordNmtTokenizer, learn_bpe
from transformer_jax.errors import DataError


def test_subword_nmt_known_answers(shared_data):
  """1,000 merges of the library's own test corpus, learned and applied, byte for byte."""
  folder = shared_data / "bpe_reference"
  codes = learn_bpe(read_lines(folder / "corpus.en"), 1000)
  assert codes.encode() == (folder / "bpe.ref").read_bytes()
  learned = SubwordNmtTokenizer(codes, [])
  lines = [" ".join(learned.segment(line)) for line in read_lines(folder / "corpus.en")]
  segmented = "".join(f"{line}\n" for line in lines)
  assert segmented.encode() == (folder / "corpus.bpe.ref.en").read_bytes()


def test_subword_nmt_at_full_size(shared_data):
  """IWSLT14 with its 10,000 joint merges: 28,066 lines."""
  folder = shared_data / "iwslt14_deen"
  learned = SubwordNmtTokenizer((folder / "bpe10k" / "codes.txt").read_text(encoding="utf-8"), [])
  count = 0
  for split, language in itertools.product(("valid", "test"), ("de", "en")):
    lines = read_lines(folder / f"{split}.{language}.gz")
    segmented = read_lines(folder / "bpe10k" / f"{split}.bpe.{language}.gz")
    for line, expected in zip(lines, segmented, strict=True):
      assert " ".join(learned.segment(line)) == expected
      count += 1
  assert count == 28_066


def test_white_space_that_is_no_space_is_an_ordinary_character(shared_data):
  codes = (shared_data / "bpe_reference" / "bpe.ref").read_text(encoding="utf-8")
  learned = SubwordNmtTokenizer(codes, ["a"])
  assert learned.segment("  iron cement  ") == ["ir@@", "on", "c@@", "ement"]
  assert learned.segment("iron\u00a0cement") == ["ir@@", "on@@", "\u00a0@@", "c@@", "ement"]


def test_subword_nmt_takes_given_codes(tmp_path):
  codes = learn_bpe(TEXTS, 20)
  (tmp_path / "codes.txt").write_bytes(codes.replace("\n", "\r\n").encode())
  given = trained("subword_nmt", data_root=tmp_path, bpe_codes="codes.txt")
  learned = trained("subword_nmt")
  assert [given.encode(text) for text in TEXTS] == [learned.encode(text) for text in TEXTS]
  with pytest.raises(DataError) as caught:
    trained("subword_nmt", data_root=tmp_path, bpe_codes="missing.txt")
  assert caught.value.where == "--bpe_codes"


def test_subword_nmt_vocabulary_is_what_occurs_most_frequent_first():
  learned = trained("subword_nmt")
  counts = {}
  for text in TEXTS:
    for piece in learned.segment(text):
      counts[piece] = counts.get(piece, 0) + 1
  by_count = sorted(counts, key=lambda piece: (-counts[piece], piece))
  assert learned.pieces(range(3, learned.vocab_size)) == by_count


def many_words():
  """Returns texts whose merges make over a hundred sub-words of six letters."""
  rng = random.Random(3)
  words = ["".join(rng.choice("abcdef") for _ in range(rng.randrange(2, 9))) for _ in range(150)]
  return [" ".join(words[number : number + 5]) for number in range(0, 150, 5)] * 2


@pytest.mark.parametrize("vocab_size", [15, 16, 40, 100])
def test_a_vocabulary_smaller_than_the_merges_spells_every_word(vocab_size):
  """Sub-words that do not fit are split, and the text comes back."""
  texts = many_words()
  full = trained("subword_nmt", texts, bpe_merges=200, vocab_size=1000)
  learned = trained("subword_nmt", texts, bpe_merges=200, vocab_size=vocab_size)
  assert full.vocab_size > 120 and vocab_size - 4 <= learned.vocab_size <= vocab_size
  for text in texts:
    tokens = learned.encode(text)
    assert UNK_ID not in tokens and learned.decode(tokens) == text
  assert any(learned.segment(text) != full.segment(text) for text in texts)
  assert learned.encode("xa") == [UNK_ID, learned.encode("a")[0]]


def test_fewer_than_the_characters_keep_the_most_frequent():
  texts = ["a a a b b c c d", "aa bb", "aa ab"]
  learned = trained("subword_nmt", texts, vocab_size=8, bpe_merges=1)
  assert learned.vocab_size == 8
  assert UNK_ID not in learned.encode("aa a b") and UNK_ID in learned.encode("d")


def test_older_tokenizers_do_not_split_unknown_sub_words(tmp_path):
  """The run of a folder without the mark was trained with these unknown sub-words."""
  learned = trained("subword_nmt", many_words(), bpe_merges=200, vocab_size=60)
  vocabulary = learned.pieces(range(3, learned.vocab_size))
  old = SubwordNmtTokenizer(learned.files()["codes.txt"].decode(), vocabulary)
  assert set(old.files()) == {"codes.txt", "vocabulary.txt"}
  assert any(UNK_ID in old.encode(text) for text in many_words())
  for tokenizer in (old, learned):
    folder = tmp_path / str(len(tokenizer.files()))
    save_tokenizer(tokenizer, folder)
    loaded = load_tokenizer(folder)
    assert all(loaded.encode(text) == tokenizer.encode(text) for text in many_words())


@pytest.mark.parametrize("character", ["\r", "\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\t"])
def test_line_ends_within_a_line_break_no_merges(character):
  texts = [f"ab{character}cd ab{character}cd"] * 5
  learned = trained("subword_nmt", texts)
  assert learned.decode(learned.encode(texts[0])) == texts[0]
  assert UNK_ID not in learned.encode(texts[0])


def random_codes(rng, alphabet):
  """Returns merges in an order that learning would not give, and their symbols.

  A pair that is made later may have a lower rank.
  """
  symbols = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
  codes = []
  for _ in range(rng.randrange(1, 30)):
    left = rng.choice([symbol for symbol in symbols if not symbol.endswith("</w>")])
    right = rng.choice(symbols)
    codes.append(f"{left} {right}\n")
    symbols.append(left + right)
  rng.shuffle(codes)
  return "".join(codes), symbols


def random_line(rng, alphabet):
  """Returns three words, at times with carriage returns at the ends of the line."""
  line = " ".join("".join(rng.choices(alphabet, k=rng.randrange(1, 30))) for _ in range(3))
  return rng.choice(["", "\r", " \r"]) + line + rng.choice(["", "\r "])


def pieces_of_the_library(library, codes, line, vocabulary=None):
  """Returns the pieces that subword-nmt itself makes."""
  segmented = library.BPE(io.StringIO(codes), vocab=vocabulary).process_line(line)
  return [piece for piece in segmented.split(" ") if piece]


@pytest.mark.parametrize("header", ["#version: 0.2\n", ""])
def test_our_merging_is_subword_nmts(header):
  library = pytest.importorskip("subword_nmt.apply_bpe")
  rng = random.Random(5)
  for _ in range(60):
    alphabet = "abcx@</w>"[: rng.choice([2, 3, 9])]
    codes, symbols = random_codes(rng, alphabet)
    codes = header + codes
    vocabulary = []
    for _ in range(10):
      vocabulary.append(rng.choice(symbols).removesuffix("</w>") + rng.choice(["", "@@"]))
    plain = SubwordNmtTokenizer(codes, vocabulary)
    filtered = SubwordNmtTokenizer(codes, vocabulary, splits_unknown=True)
    known = set(filtered.pieces(range(3, filtered.vocab_size)))
    for _ in range(20):
      line = random_line(rng, alphabet)
      assert plain.segment(line) == pieces_of_the_library(library, codes, line)
      if header:  # without it, the library's filter leaves empty pieces
        assert filtered.segment(line) == pieces_of_the_library(library, codes, line, known)


def test_one_long_word_takes_no_squared_time():
  """200,000 letters; subword-nmt takes minutes for a megabyte."""
  learned = trained("subword_nmt")
  pieces = learned.segment("theca" * 40_000)
  assert "".join(piece.removesuffix("@@") for piece in pieces) == "theca" * 40_000


def test_words_that_end_in_the_mark_are_reported(capsys):
  trained("subword_nmt", [*TEXTS, "the sun is @@ warm", "x@@ y", "a mail@@b.c"])
  assert "2 lines of the training text have words that end in @@" in capsys.readouterr().err
  trained("subword_nmt")
  assert not capsys.readouterr().err


@pytest.mark.parametrize("content", ["no such codes here\n", "lonely\n", ""])
def test_a_file_that_holds_no_codes(tmp_path, content):
  (tmp_path / "codes.txt").write_text(content)
  with pytest.raises(DataError, match=r"codes\.txt"):
    trained("subword_nmt", data_root=tmp_path, bpe_codes="codes.txt")


@pytest.mark.parametrize("texts", [["a b c"], ["a"]])
def test_text_too_small_to_learn_merges(texts):
  with pytest.raises(DataError, match="--bpe_merges"):
    trained("subword_nmt", texts)
