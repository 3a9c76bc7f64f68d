"""Sub-words: subword-nmt's own known answers, SentencePiece's settings, and tokenizers that survive a folder."""

import io
import json
import random
import sys

import pytest

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID, Config
from transformer_jax.data.text import read_lines
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  has_tokenizer,
  load_tokenizer,
  save_tokenizer,
  train_tokenizer,
)
from transformer_jax.data.tokenizers.subwords import SubwordNmtTokenizer, learn_bpe
from transformer_jax.errors import DataError

TEXTS = [
  "the cat sat on the mat",
  "die katze saß auf der matte",
  "the mat sat on the cat",
  "die matte saß auf der katze",
] * 3
KINDS = ("sentencepiece", "subword_nmt", "segmented")


def settings(**values):
  return (
    Config()
    .replace(
      **{
        **dict(
          data_source="text",
          train_source="a",
          train_target="b",
          valid_source="c",
          valid_target="d",
          vocab_size=50,
          bpe_merges=20,
        ),
        **values,
      }
    )
    .data
  )


def trained(kind, texts=TEXTS, data_root=".", **values):
  return train_tokenizer(settings(tokenizer=kind, **values), iter(texts), data_root)


@pytest.fixture(params=KINDS)
def tokenizer(request):
  """A tokenizer of each kind, learned from TEXTS."""
  return trained(request.param)


def test_training_text_comes_back(tokenizer):
  for text in TEXTS:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert not {PAD_ID, EOS_ID, UNK_ID} & set(tokens)
    assert max(tokens) < tokenizer.vocab_size <= 50
    assert len(tokenizer.pieces(tokens)) == len(tokens)


def test_decoding_stops_at_eos_and_skips_padding(tokenizer):
  tokens = tokenizer.encode("the cat")
  more = tokenizer.encode("mat")
  assert tokenizer.decode([*tokens, EOS_ID, *more]) == "the cat"
  assert tokenizer.decode([PAD_ID, *tokens, PAD_ID, PAD_ID]) == "the cat"
  assert tokenizer.decode([EOS_ID]) == tokenizer.decode([]) == ""


def test_nothing_in_a_text_becomes_a_control_token(tokenizer):
  """Neither the control symbols' spelling nor characters never seen; and an empty text is no token."""
  tokens = tokenizer.encode("</s> <pad> <unk> 漢字 \0 \u2028")
  assert not {PAD_ID, EOS_ID} & set(tokens)
  assert UNK_ID in tokens
  assert tokenizer.encode("") == tokenizer.encode("  ") == []


def test_control_symbols_in_training_text_stay_text():
  for kind in KINDS:
    learned = trained(kind, [*TEXTS, "</s> <pad> <unk>"] * 2, vocab_size=80)
    assert not {PAD_ID, EOS_ID} & set(learned.encode("</s> <pad> <unk>"))
    assert learned.pieces([PAD_ID, EOS_ID, UNK_ID]) == ["<pad>", "</s>", "<unk>"]


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same(kind):
  assert trained(kind).files() == trained(kind).files()
  assert (
    fingerprint(trained(kind))
    == fingerprint(trained(kind))
    != fingerprint(trained(kind, ["another text of words"] * 4))
  )


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
  assert not has_tokenizer(tmp_path / "new")
  save_tokenizer(tokenizer, tmp_path / "new")
  assert has_tokenizer(tmp_path / "new")
  loaded = load_tokenizer(tmp_path / "new")
  text = "the katze </s> 漢"
  assert type(loaded) is type(tokenizer)
  assert loaded.vocab_size == tokenizer.vocab_size
  assert loaded.encode(text) == tokenizer.encode(text)
  assert fingerprint(loaded) == fingerprint(tokenizer)


def test_a_changed_or_missing_file_is_named(tokenizer, tmp_path):
  save_tokenizer(tokenizer, tmp_path)
  for name in json.loads((tmp_path / "tokenizer.json").read_text())["sha256"]:
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError) as caught:
      load_tokenizer(tmp_path)
    assert caught.value.where == str(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(DataError) as caught:
      load_tokenizer(tmp_path)
    assert caught.value.where == str(tmp_path / name)
    (tmp_path / name).write_bytes(content)
  load_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "name",
  [
    "/dev/zero",
    "../vocabulary.txt",
    "sub/vocabulary.txt",
    ".",
    "..",
    "",
    "device",
    "vocabulary.txt/",
  ],
)
def test_an_index_names_only_files_beside_it(tmp_path, name):
  folder = tmp_path / "tokenizer"
  save_tokenizer(trained("segmented"), folder)
  (tmp_path / "vocabulary.txt").write_bytes((folder / "vocabulary.txt").read_bytes())
  (folder / "device").symlink_to("/dev/zero")
  index = json.loads((folder / "tokenizer.json").read_text())
  index["sha256"][name] = index["sha256"]["vocabulary.txt"]
  (folder / "tokenizer.json").write_text(json.dumps(index))
  with pytest.raises(DataError, match="tokenizer.json: names"):
    load_tokenizer(folder)


def test_a_cached_tokenizer_that_is_closed_to_us_is_absent(tmp_path, monkeypatch):
  save_tokenizer(trained("segmented"), tmp_path)

  def refused(*_, **__):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr("os.stat", refused)
  assert not has_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "content", ["", "{", "[]", "{}", '{"kind": "segmented"}', '{"kind": "no such", "sha256": {}}']
)
def test_a_damaged_index_is_named(tmp_path, content):
  save_tokenizer(trained("segmented"), tmp_path)
  (tmp_path / "tokenizer.json").write_text(content)
  with pytest.raises(DataError, match="tokenizer.json"):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize(
  "kind, module", [("sentencepiece", "sentencepiece"), ("subword_nmt", "subword_nmt")]
)
def test_a_missing_package_is_named(kind, module, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(DataError, match=f"pip install {module.replace('_', '-')}"):
    trained(kind)


# SentencePiece


def test_sentencepiece_gives_what_a_small_text_has():
  """An upper bound far beyond the text is no error; below the number of characters it is."""
  assert 20 < trained("sentencepiece", vocab_size=37_000).vocab_size < 200
  with pytest.raises(DataError) as caught:
    trained("sentencepiece", vocab_size=8)
  assert caught.value.where == "--vocab_size=8"


def test_sentencepiece_covers_every_character_and_normalises():
  learned = trained("sentencepiece", [*TEXTS, "漢"])
  assert UNK_ID not in learned.encode("漢")
  assert learned.encode("ｔｈｅ\u00a0 cat") == learned.encode(
    "the cat"
  )  # full-width letters, a no-break space


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], ["", "  ", "\t"], ["\N{NO-BREAK SPACE}"]])
def test_files_without_text_are_named(kind, texts):
  with pytest.raises(DataError, match="nothing but empty lines") as caught:
    trained(kind, texts)
  assert caught.value.where == "--train_source=a --train_target=b"


@pytest.mark.parametrize("texts", [["\N{ZERO WIDTH SPACE}"], ["\ufffd"], ["x" * (1 << 21)]])
def test_sentencepiece_names_its_files_and_not_its_own_source(texts):
  with pytest.raises(DataError) as caught:
    trained("sentencepiece", texts)
  assert caught.value.where == "--train_source=a --train_target=b" and ".cc" not in str(
    caught.value
  )


def test_a_vocabulary_smaller_than_the_characters_says_how_large():
  texts = [*TEXTS, "".join(chr(0x4E00 + i) for i in range(100))]
  with pytest.raises(DataError) as caught:
    trained("sentencepiece", texts, vocab_size=60)
  assert caught.value.where == "--vocab_size=60"
  assert "coverage" not in str(caught.value) and "lower" not in caught.value.remedy
  needed = int(caught.value.remedy.split()[-1])
  assert trained("sentencepiece", texts, vocab_size=needed).vocab_size == needed
  with pytest.raises(DataError):
    trained("sentencepiece", texts, vocab_size=needed - 1)


def test_a_bad_line_is_blamed_on_its_file(tmp_path):
  (tmp_path / "bad.txt").write_bytes(b"good line\n\xff\n" + b"good line\n" * 20)
  with pytest.raises(DataError) as caught:
    train_tokenizer(settings(), read_lines(tmp_path / "bad.txt"))
  assert caught.value.where == f"{tmp_path / 'bad.txt'}:2"


# subword-nmt


def test_subword_nmt_known_answers(shared_data):
  """1,000 merges of its own test corpus, learned and applied, byte for byte."""
  folder = shared_data / "bpe_reference"
  codes = learn_bpe(read_lines(folder / "corpus.en"), 1000)
  assert codes.encode() == (folder / "bpe.ref").read_bytes()
  learned = SubwordNmtTokenizer(codes, [])
  segmented = "".join(
    f"{' '.join(learned.segment(line))}\n" for line in read_lines(folder / "corpus.en")
  )
  assert segmented.encode() == (folder / "corpus.bpe.ref.en").read_bytes()


def test_subword_nmt_at_full_size(shared_data):
  """IWSLT14 with its 10,000 joint merges: 28,066 lines."""
  folder = shared_data / "iwslt14_deen"
  learned = SubwordNmtTokenizer((folder / "bpe10k" / "codes.txt").read_text(encoding="utf-8"), [])
  lines = 0
  for split in ("valid", "test"):
    for language in ("de", "en"):
      for line, expected in zip(
        read_lines(folder / f"{split}.{language}.gz"),
        read_lines(folder / "bpe10k" / f"{split}.bpe.{language}.gz"),
        strict=True,
      ):
        assert " ".join(learned.segment(line)) == expected
        lines += 1
  assert lines == 28_066


def test_white_space_that_is_no_space_is_an_ordinary_character(shared_data):
  learned = SubwordNmtTokenizer(
    (shared_data / "bpe_reference" / "bpe.ref").read_text(encoding="utf-8"), ["a"]
  )
  assert learned.segment("  iron cement  ") == ["ir@@", "on", "c@@", "ement"]
  assert learned.segment("iron\u00a0cement") == ["ir@@", "on@@", "\u00a0@@", "c@@", "ement"]


@pytest.mark.parametrize("text", ["a\tb", "a\u00a0b", "a\u2028b", "a\u3000b"])
@pytest.mark.parametrize("kind", ["subword_nmt", "segmented"])
def test_no_white_space_is_lost(kind, text):
  learned = trained(kind, [*TEXTS, text], vocab_size=80)
  assert learned.decode(learned.encode(text)) == text


def test_subword_nmt_takes_given_codes(tmp_path):
  codes = learn_bpe(TEXTS, 20)
  (tmp_path / "codes.txt").write_bytes(codes.replace("\n", "\r\n").encode())
  given = trained("subword_nmt", data_root=tmp_path, bpe_codes="codes.txt")
  assert [given.encode(text) for text in TEXTS] == [
    trained("subword_nmt").encode(text) for text in TEXTS
  ]
  with pytest.raises(DataError) as caught:
    trained("subword_nmt", data_root=tmp_path, bpe_codes="missing.txt")
  assert caught.value.where == "--bpe_codes"


def test_subword_nmt_vocabulary_is_what_occurs_most_frequent_first():
  learned = trained("subword_nmt")
  counts = {}
  for text in TEXTS:
    for piece in learned.segment(text):
      counts[piece] = counts.get(piece, 0) + 1
  assert learned.pieces(range(3, learned.vocab_size)) == sorted(
    counts, key=lambda piece: (-counts[piece], piece)
  )


def many_words():
  """Texts whose merges make some hundred sub-words of six letters."""
  rng = random.Random(3)
  words = ["".join(rng.choice("abcdef") for _ in range(rng.randrange(2, 9))) for _ in range(150)]
  return [" ".join(words[number : number + 5]) for number in range(0, 150, 5)] * 2


@pytest.mark.parametrize("vocab_size", [15, 16, 40, 100])
def test_a_vocabulary_smaller_than_the_merges_spells_every_word(vocab_size):
  """What has no room is split, and the text comes back."""
  texts = many_words()
  full, learned = (
    trained("subword_nmt", texts, bpe_merges=200, vocab_size=size) for size in (1000, vocab_size)
  )
  assert full.vocab_size > 120 and vocab_size - 4 <= learned.vocab_size <= vocab_size
  for text in texts:
    tokens = learned.encode(text)
    assert UNK_ID not in tokens and learned.decode(tokens) == text
  assert any(learned.segment(text) != full.segment(text) for text in texts)
  assert learned.encode("xa") == [UNK_ID, learned.encode("a")[0]]


def test_fewer_than_the_characters_keep_the_most_frequent():
  learned = trained(
    "subword_nmt", ["a a a b b c c d", "aa bb", "aa ab"], vocab_size=8, bpe_merges=1
  )
  assert (
    learned.vocab_size == 8
    and UNK_ID not in learned.encode("aa a b")
    and UNK_ID in learned.encode("d")
  )


def test_what_was_saved_before_goes_on_unsplit(tmp_path):
  """A folder without the mark is of a run that learned with these unknowns."""
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
  """Merges in no order that learning would give, so that a later pair may have a lower rank."""
  symbols, codes = [*alphabet, *(f"{letter}</w>" for letter in alphabet)], []
  for _ in range(rng.randrange(1, 30)):
    pair = (
      rng.choice([symbol for symbol in symbols if not symbol.endswith("</w>")]),
      rng.choice(symbols),
    )
    codes.append(pair)
    symbols.append("".join(pair))
  rng.shuffle(codes)
  return "".join(f"{left} {right}\n" for left, right in codes), symbols


@pytest.mark.parametrize("header", ["#version: 0.2\n", ""])
def test_our_merging_is_subword_nmts(header):
  library = pytest.importorskip("subword_nmt.apply_bpe")
  rng = random.Random(5)
  for _ in range(60):
    alphabet = "abcx@</w>"[: rng.choice([2, 3, 9])]
    codes, symbols = random_codes(rng, alphabet)
    vocabulary = [
      rng.choice(symbols).removesuffix("</w>") + rng.choice(["", "@@"]) for _ in range(10)
    ]
    plain, filtered = (
      SubwordNmtTokenizer(header + codes, vocabulary, splits) for splits in (False, True)
    )
    known = set(filtered.pieces(range(3, filtered.vocab_size)))
    for _ in range(20):
      line = " ".join("".join(rng.choices(alphabet, k=rng.randrange(1, 30))) for _ in range(3))
      line = rng.choice(["", "\r", " \r"]) + line + rng.choice(["", "\r "])
      expected = library.BPE(io.StringIO(header + codes)).process_line(line)
      assert plain.segment(line) == [piece for piece in expected.split(" ") if piece]
      if header:  # without it, the library's filter leaves empty pieces
        expected = library.BPE(io.StringIO(header + codes), vocab=known).process_line(line)
        assert filtered.segment(line) == [piece for piece in expected.split(" ") if piece]


def test_one_long_word_takes_no_squared_time():
  """A megabyte of letters, which subword-nmt takes minutes for."""
  learned = trained("subword_nmt")
  pieces = learned.segment("theca" * 40_000)
  assert "".join(piece.removesuffix("@@") for piece in pieces) == "theca" * 40_000


def test_words_that_end_in_the_mark_are_told(capsys):
  trained("subword_nmt", [*TEXTS, "the sun is @@ warm", "x@@ y", "a mail@@b.c"])
  assert "2 lines of the training text have words that end in @@" in capsys.readouterr().err
  trained("subword_nmt")
  assert not capsys.readouterr().err


@pytest.mark.parametrize("content", ["no such codes here\n", "lonely\n", ""])
def test_a_file_that_holds_no_codes(tmp_path, content):
  (tmp_path / "codes.txt").write_text(content)
  with pytest.raises(DataError, match="codes.txt"):
    trained("subword_nmt", data_root=tmp_path, bpe_codes="codes.txt")


@pytest.mark.parametrize("texts", [["a b c"], ["a"]])
def test_text_too_small_to_learn_merges(texts):
  with pytest.raises(DataError, match="--bpe_merges"):
    trained("subword_nmt", texts)


# Segmented text


def test_segmented_text_keeps_its_segmentation():
  learned = trained("segmented", ["the c@@ at s@@ at", "c@@ ats"])
  tokens = learned.encode("the c@@ ats")
  assert learned.pieces(tokens) == ["the", "c@@", "ats"]
  assert learned.decode(tokens) == "the cats"
  assert learned.decode(learned.encode("the c@@")) == "the c"  # a join with nothing to join


def test_segmented_vocabulary_file(tmp_path):
  (tmp_path / "vocabulary.txt").write_text(
    "the 120\nc@@\t7\n\nat\nthe 3\n<unk> 9\n</s>\n", encoding="utf-8"
  )
  learned = trained("segmented", data_root=tmp_path, vocabulary_file="vocabulary.txt")
  assert learned.pieces(range(learned.vocab_size)) == ["<pad>", "</s>", "<unk>", "the", "c@@", "at"]
  assert learned.encode("the c@@ at dog") == [3, 4, 5, UNK_ID]
  with pytest.raises(DataError) as caught:
    trained("segmented", data_root=tmp_path, vocabulary_file="missing.txt")
  assert caught.value.where == "--vocabulary_file"


@pytest.mark.parametrize(
  "kind, flag", [("subword_nmt", "bpe_codes"), ("segmented", "vocabulary_file")]
)
def test_only_one_file_is_taken(tmp_path, kind, flag):
  (tmp_path / "a.txt").write_text("a b\n")
  (tmp_path / "b.txt").write_text("a b\n")
  with pytest.raises(DataError, match=f"--{flag}"):
    trained(kind, data_root=tmp_path, **{flag: "*.txt"})


def test_segmented_vocabulary_from_the_text_is_bounded():
  learned = trained("segmented", ["a a a b b c", "a d"], vocab_size=8)
  assert learned.pieces(range(learned.vocab_size)) == ["<pad>", "</s>", "<unk>", "a", "b", "c", "d"]
  assert trained("segmented", ["a a b c d e f g h"], vocab_size=8).vocab_size == 8
