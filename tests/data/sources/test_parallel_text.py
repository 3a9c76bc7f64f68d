"""Pairs from parallel files: nothing shifts, and errors name file and line."""

import pytest

from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.errors import DataError


def source_of(folder, **settings):
  names = dict(
    train_source="train.en",
    train_target="train.de",
    valid_source="valid.en",
    valid_target="valid.de",
  )
  return open_source(Config().replace(data_source="text", **{**names, **settings}).data, folder)


@pytest.fixture
def folder(tmp_path):
  """Parallel files."""
  for name, text in {
    "train.en": "a\nb\n",
    "train.de": "A\nB\n",
    "more.en": "c\n",
    "more.de": "C",
    "valid.en": "v\u2028w\n\n",
    "valid.de": "V\rW\r\n\n",
  }.items():
    (tmp_path / name).write_bytes(text.encode())
  return tmp_path


def test_pairs_in_the_order_of_the_files(folder):
  source = source_of(folder, train_source="train.en,more.en", train_target="train.de,more.de")
  assert list(source.pairs("train")) == [("a", "A"), ("b", "B"), ("c", "C")]
  assert list(source.pairs("train")) == list(source.pairs("train"))
  assert list(source.pairs("valid")) == [("v\u2028w", "V\rW"), ("", "")]
  assert list(source.pairs("test")) == []


@pytest.mark.parametrize("longer", ["en", "de"])
def test_different_numbers_of_lines(folder, longer):
  with open(folder / f"train.{longer}", "a", encoding="utf-8") as file:
    file.write("\n")  # even an empty line has no partner
  with pytest.raises(DataError) as caught:
    list(source_of(folder).pairs("train"))
  assert caught.value.where == f"{folder / 'train'}.{longer}:3"
  assert "ends at line 2" in caught.value.problem


def test_an_empty_file_beside_a_full_one(folder):
  (folder / "train.de").write_bytes(b"")
  with pytest.raises(DataError, match=r"train\.en:1"):
    list(source_of(folder).pairs("train"))


def test_each_pair_of_files_must_fit_by_itself(folder):
  """Files whose lines match only in sum are shifted against each other."""
  source = source_of(folder, train_source="train.en,more.en", train_target="more.de,train.de")
  with pytest.raises(DataError, match=r"train\.en:2"):
    list(source.pairs("train"))


def test_invalid_bytes_are_named_on_either_side(folder):
  (folder / "train.de").write_bytes(b"A\n\xff\n")
  with pytest.raises(DataError, match=r"train\.de:2"):
    list(source_of(folder).pairs("train"))


def test_a_missing_file_is_named_when_its_split_is_read(folder):
  source = source_of(folder, valid_target="nothing.de")
  assert list(source.pairs("train"))  # a run can be evaluated where its training text is not
  for read in (source.fingerprint, lambda split: next(source.pairs(split))):
    with pytest.raises(DataError, match="--valid_target"):
      read("valid")


def test_wildcards_that_match_different_numbers_of_files(folder):
  with pytest.raises(DataError, match="--train_target: matches 1 files, but"):
    source_of(folder, train_source="*.en", train_target="t*.de").fingerprint("train")


def test_fingerprint_changes_with_text_and_not_with_its_place(folder, tmp_path_factory):
  before = source_of(folder).fingerprint("train")
  copy = tmp_path_factory.mktemp("copy")
  for path in folder.iterdir():
    (copy / path.name).write_bytes(path.read_bytes())
  assert source_of(copy).fingerprint("train") == before
  assert source_of(copy).fingerprint("valid") != before
  turned = source_of(copy, train_source="train.de", train_target="train.en")
  assert turned.fingerprint("train") != before
  (copy / "train.de").write_bytes(b"A\nb\n")
  assert source_of(copy).fingerprint("train") != before
  assert len(before) == 64
