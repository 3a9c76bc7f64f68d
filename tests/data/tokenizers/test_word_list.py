"""Segmented text: its tokens, and vocabularies from a file and from the text."""

import pytest
from small_tokenizers import trained

from transformer_jax.config import UNK_ID
from transformer_jax.errors import DataError


def test_segmented_text_keeps_its_segmentation():
  learned = trained("segmented", ["the c@@ at s@@ at", "c@@ ats"])
  tokens = learned.encode("the c@@ ats")
  assert learned.pieces(tokens) == ["the", "c@@", "ats"]
  assert learned.decode(tokens) == "the cats"
  assert learned.decode(learned.encode("the c@@")) == "the c"  # a join with nothing to join


def test_segmented_vocabulary_file(tmp_path):
  lines = "the 120\nc@@\t7\n\nat\nthe 3\n<unk> 9\n</s>\n"
  (tmp_path / "vocabulary.txt").write_text(lines, encoding="utf-8")
  learned = trained("segmented", data_root=tmp_path, vocabulary_file="vocabulary.txt")
  assert learned.pieces(range(learned.vocab_size)) == ["<pad>", "</s>", "<unk>", "the", "c@@", "at"]
  assert learned.encode("the c@@ at dog") == [3, 4, 5, UNK_ID]
  with pytest.raises(DataError) as caught:
    trained("segmented", data_root=tmp_path, vocabulary_file="missing.txt")
  assert caught.value.where == "--vocabulary_file"


def test_segmented_vocabulary_from_the_text_is_bounded():
  learned = trained("segmented", ["a a a b b c", "a d"], vocab_size=8)
  assert learned.pieces(range(learned.vocab_size)) == ["<pad>", "</s>", "<unk>", "a", "b", "c", "d"]
  assert trained("segmented", ["a a b c d e f g h"], vocab_size=8).vocab_size == 8
