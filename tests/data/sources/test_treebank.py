"""Treebanks from files: by section, by name, by folder; errors name file and line."""

import gzip

import pytest

from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.errors import ConfigError, DataError


def source_of(folder, **settings):
  defaults = dict(
    task="parsing",
    data_source="treebank",
    embedding_sharing="none",
    train_trees="train.trees",
    valid_trees="train.trees",
  )
  return open_source(Config().replace(**{**defaults, **settings}).data, folder)


def tree(word):
  return f"( (S (NP-SBJ (NN {word})) (VP (VBZ runs)) ))\n"


@pytest.fixture
def folder(tmp_path):
  """Two sections, a file of automatic parses, and a file with a tree over two lines."""
  names = "wsj/00/wsj_0001.mrg wsj/02/wsj_0201.mrg wsj/02/wsj_0202.mrg more/auto.parse"
  for name in names.split():
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tree(path.stem))
  (tmp_path / "wsj/README").write_text("not a tree")
  (tmp_path / "train.trees").write_text("(S (NP (NN dog)\n) (VP (VBZ runs)))\n(S (-NONE- *))\n\n")
  with gzip.open(tmp_path / "more" / "zipped.trees.gz", "wt") as file:
    file.write(tree("zipped"))
  return tmp_path


def words(source, split="train"):
  return [sentence.split(" ")[0] for sentence, _ in source.pairs(split)]


def test_words_and_a_clean_tree(folder):
  assert list(source_of(folder).pairs("train")) == [
    ("dog runs", "(TOP (S (NP (NN dog)) (VP (VBZ runs))))")
  ]


def test_sections_by_number_then_other_files(folder):
  gold = dict(treebank="wsj", train_sections="0-2")
  with pytest.raises(DataError, match="wsj_01NN"):
    words(source_of(folder, **gold))
  gold["train_sections"] = "0,2"
  assert words(source_of(folder, **gold, train_trees="")) == ["wsj_0001", "wsj_0201", "wsj_0202"]
  both = source_of(folder, **gold, train_trees="more/auto.parse")
  assert words(both) == ["wsj_0001", "wsj_0201", "wsj_0202", "auto"]


def test_files_folders_and_wildcards(folder):
  assert words(source_of(folder, train_trees="more")) == ["auto", "zipped"]
  several = source_of(folder, train_trees="wsj/02/*.mrg,more/zipped.trees.gz")
  assert words(several) == ["wsj_0201", "wsj_0202", "zipped"]
  assert words(source_of(folder, train_trees="m*e")) == ["auto", "zipped"]
  assert words(source_of(folder), "test") == []


def test_a_file_that_is_also_compressed_is_read_once(folder):
  with gzip.open(folder / "wsj/00/wsj_0001.mrg.gz", "wt") as file:
    file.write(tree("wsj_0001"))
  source = source_of(folder, treebank="wsj", train_sections="0", train_trees="")
  assert words(source) == ["wsj_0001"]
  assert words(source_of(folder, train_trees="wsj/00")) == ["wsj_0001"]


def test_a_folder_without_trees(folder):
  (folder / "empty").mkdir()
  with pytest.raises(DataError, match="--train_trees"):
    words(source_of(folder, train_trees="empty"))


@pytest.mark.parametrize(
  "text, line, problem",
  [
    (b"(S (X a))\n(S (X b)\n\n", 2, "never closed"),
    (b"(S (X a)))\n", 1, "outside"),
    (b"(S (X a))\n(S (X \xff))\n", 2, "UTF-8"),
    (b"\n\nword\n", 3, "outside"),
    (b"(S (X a))\n(S (NNP New York))\n", 2, "several words"),
  ],
)
def test_errors_are_named_by_file_and_line(folder, text, line, problem):
  (folder / "train.trees").write_bytes(text)
  with pytest.raises(DataError, match=problem) as caught:
    words(source_of(folder))
  assert caught.value.where.endswith(f"train.trees:{line}")


def test_a_treebank_may_end_its_lines_with_carriage_returns(folder):
  """In a tree they are white space."""
  (folder / "train.trees").write_bytes(b"(S (NN one)\r)\r(S (NN two))\r")
  assert words(source_of(folder)) == ["one", "two"]


def test_a_file_with_brackets_in_its_name(folder):
  (folder / "train.trees").rename(folder / "train[1].trees")
  assert words(source_of(folder, train_trees="train[1].trees")) == ["dog"]


def test_fingerprint_is_of_the_bytes(folder):
  before = source_of(folder).fingerprint("train")
  assert source_of(folder).fingerprint("train") == before
  assert source_of(folder, train_trees="more").fingerprint("train") != before


@pytest.mark.parametrize(
  "settings, flag",
  [
    (dict(train_trees=""), "--train_trees"),
    (dict(train_sections="2-"), "--train_sections"),
    (dict(train_sections="3-2"), "--train_sections"),
    (dict(train_sections="2"), "--treebank"),
    (dict(embedding_sharing="all"), "--embedding_sharing"),
    (dict(preprocessing="moses"), "--preprocessing"),
    (dict(data_source="numbers"), "--data_source"),
    (dict(task="translation"), "--data_source"),
  ],
)
def test_settings_that_contradict_each_other(settings, flag):
  with pytest.raises(ConfigError, match=flag):
    source_of(".", **settings)


def test_constrained_is_for_parsers():
  with pytest.raises(ConfigError, match="--constrained"):
    Config().replace(constrained=True)


def test_positions_of_words_are_for_parsers():
  with pytest.raises(ConfigError, match=r"^--positions=words: numbers the words.* --task=parsing"):
    Config().replace(positions="words")
  with pytest.raises(ConfigError, match=r"^--d_model: 30 is no multiple of 4"):
    source_of(".", positions="words", d_model=30)


def test_the_wsj_sample(shared_data):
  source = source_of(
    shared_data,
    train_trees="wsj_sample/wsj_00*.mrg,wsj_sample/wsj_01[0-3]*.mrg",
    valid_trees="wsj_sample/wsj_01[45]*.mrg",
    test_sections="0,1",
    treebank="wsj_sample",
  )
  count = {split: sum(1 for _ in source.pairs(split)) for split in ("train", "valid", "test")}
  assert count["train"] + count["valid"] == count["test"] == 3396
