"""SentencePiece: its settings, and errors that name ours."""

import pickle

import pytest
from small_tokenizers import TEXTS, settings, trained

from transformer_jax.config import UNK_ID
from transformer_jax.data.text import read_lines
from transformer_jax.data.tokenizers.folder import train_tokenizer
from transformer_jax.errors import DataError


def test_sentencepiece_gives_what_a_small_text_has():
  """A bound far beyond the text is allowed; one below the number of characters is an error."""
  assert 20 < trained("sentencepiece", vocab_size=37_000).vocab_size < 200
  with pytest.raises(DataError) as caught:
    trained("sentencepiece", vocab_size=8)
  assert caught.value.where == "--vocab_size=8"


def test_sentencepiece_covers_every_character_and_normalizes():
  learned = trained("sentencepiece", [*TEXTS, "漢"])
  assert UNK_ID not in learned.encode("漢")
  full_width = "ｔｈｅ\u00a0 cat"  # and a no-break space
  assert learned.encode(full_width) == learned.encode("the cat")


def strange_texts():
  """Yields texts with every 61st character of Unicode between, before and after words."""
  for code in range(0, 0x110000, 61):
    if not 0xD800 <= code < 0xE000:
      letter = chr(code)
      yield f"the {letter} cat{letter} sat {letter}on{letter}the mat {letter}"


def test_words_are_encoded_as_the_library_encodes_the_text():
  """One by one, from a cache; also with spaces that normalization adds or takes away."""
  learned = trained("sentencepiece", [*TEXTS, "the  mat \u00a8 a\u00a8b"])
  library = learned._processor
  spaces = ["", " ", "  the  cat ", "the\tcat\u3000on\u200b the", "the\N{ACUTE ACCENT} cat \u0301a"]
  for text in [*strange_texts(), *spaces, *TEXTS]:
    assert learned.encode(text) == library.encode(text), ascii(text)


def test_a_copy_in_another_process_encodes_alike():
  learned = trained("sentencepiece")
  assert pickle.loads(pickle.dumps(learned)).encode(TEXTS[1]) == learned.encode(TEXTS[1])


@pytest.mark.parametrize("texts", [["\N{ZERO WIDTH SPACE}"], ["\ufffd"], ["x" * (1 << 21)]])
def test_sentencepiece_names_its_files_and_not_its_own_source(texts):
  with pytest.raises(DataError) as caught:
    trained("sentencepiece", texts)
  assert caught.value.where == "--train_source=a --train_target=b"
  assert ".cc" not in str(caught.value)


def test_a_vocabulary_smaller_than_the_characters_names_the_least_size():
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
