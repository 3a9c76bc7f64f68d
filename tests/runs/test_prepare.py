"""The cache of tokenizers and encoded text, what is counted, and what has no pairs."""

import importlib.metadata
import os

import numpy as np
import pytest
from tiny_run import tiny_config

from transformer_jax.cache_folder import cache_folder
from transformer_jax.data import encoding, fingerprints, workers
from transformer_jax.data.tokenizers.folder import save_tokenizer
from transformer_jax.errors import ConfigError, DataError, WorkdirError
from transformer_jax.runs import prepare as prepare_module
from transformer_jax.runs import train as train_module
from transformer_jax.runs.prepare import prepare
from transformer_jax.runs.startup_report import data_lines
from transformer_jax.workdir.folder import Workdir

WORDS = "the cat sat, on a mat and looked at another cat.".split()


@pytest.fixture
def data(tmp_path, monkeypatch):
  """A folder with text of two languages, and a cache of its own."""
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", str(tmp_path / "cache"))
  rng = np.random.default_rng(0)
  for split, count in (("train", 60), ("valid", 5)):
    lines = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]
    (tmp_path / f"{split}.en").write_text("\n".join(lines) + "\n")
    (tmp_path / f"{split}.de").write_text("\n".join(line.upper() for line in lines) + "\n")
  return tmp_path


def config_of(**settings):
  files = {
    f"{split}_{side}": f"{split}.{language}"
    for split in ("train", "valid")
    for side, language in (("source", "en"), ("target", "de"))
  }
  return tiny_config(
    **{**dict(data_source="text", tokenizer="sentencepiece", vocab_size=60, **files), **settings}
  )


def test_the_second_time_nothing_is_made_again(data, monkeypatch):
  first = prepare(config_of(), data)
  monkeypatch.setattr(prepare_module, "train_tokenizer", None)
  monkeypatch.setattr(prepare_module.Prepared, "is_preprocessed", lambda *_: False)
  encoded_again = lambda *_, **__: pytest.fail("the text was encoded again")
  monkeypatch.setattr(type(first.task), "encode_source", encoded_again)
  again = prepare(config_of(), data)
  assert again.fingerprint == first.fingerprint
  np.testing.assert_array_equal(again.encoded["train"].source(3), first.encoded["train"].source(3))


@pytest.mark.parametrize(
  "settings",
  [
    dict(vocab_size=50),
    dict(tokenizer="subword_nmt", bpe_merges=20),
    dict(preprocessing="moses"),
    dict(preprocessing="moses_lowercase"),
  ],
)
def test_each_change_of_tokens_changes_the_fingerprint(data, settings):
  assert prepare(config_of(**settings), data).fingerprint != prepare(config_of(), data).fingerprint


def test_changed_text_is_encoded_anew(data):
  before = prepare(config_of(), data)
  (data / "train.en").write_text((data / "train.en").read_text().replace("cat", "mat"))
  after = prepare(config_of(), data)
  assert after.fingerprint != before.fingerprint
  assert any(
    list(before.encoded["train"].source(i)) != list(after.encoded["train"].source(i))
    for i in range(60)
  )


def test_a_damaged_tokenizer_in_the_cache_is_made_again(data):
  first = prepare(config_of(), data)
  (path,) = (data / "cache/tokenizers").glob("*/sentencepiece.model")
  path.write_bytes(b"x")
  assert prepare(config_of(), data).fingerprint == first.fingerprint


def test_a_cache_that_is_not_a_folder_is_named(data, monkeypatch):
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", "/dev/null")
  with pytest.raises(WorkdirError, match="set TRANSFORMER_JAX_CACHE to a writable folder"):
    prepare(config_of(), data)


def test_a_missing_test_file_is_reported_before_training(data):
  with pytest.raises(DataError, match="--test_source: there is no file"):
    prepare(config_of(test_source="none.en", test_target="none.de"), data)


def test_counts_and_tokens(data):
  with (
    open(data / "train.en", "a", encoding="utf-8") as en,
    open(data / "train.de", "a", encoding="utf-8") as de,
  ):
    en.write("\n" + "cat " * 50 + "\n")
    de.write("X\n" + "CAT " * 50 + "\n")
  prepared = prepare(config_of(accumulation_steps=2), data)
  counts = prepared.counts
  assert counts["train"].kept == 60 and counts["train"].dropped == {
    "with an empty side": 1,
    "longer than 40 tokens": 1,
  }
  assert counts["valid"].kept == 5 and not counts["valid"].dropped
  stream = prepared.stream_from()
  source = sum(len(prepared.encoded["train"].source(i)) for i in range(60))
  assert prepared.tokens_per_update(stream)[0] == pytest.approx(
    source / stream.batches_in_epoch * 2
  )
  lines = "\n".join(data_lines(prepared.config, prepared, stream))
  assert (
    "train 60 pairs (dropped: 1 longer than 40 tokens, 1 with an empty side), valid 5 pairs"
    in lines
  )


def lines_of(prepared):
  return "\n".join(data_lines(prepared.config, prepared, prepared.stream_from()))


def test_the_share_of_unknown_tokens_is_reported(data):
  """They come from characters that training lacked, or from a vocabulary that does not fit."""
  assert "<unk>" not in lines_of(prepare(config_of(), data))
  (data / "valid.de").write_text("漢字 A\n" * 5)
  lines = lines_of(prepare(config_of(), data))
  assert (
    "unknown to the vocabulary (<unk>): valid " in lines
    and "of target tokens" in lines
    and "warning: much" not in lines
  )
  (data / "vocabulary").write_text("the\ncat\n")
  lines = lines_of(prepare(config_of(tokenizer="segmented", vocabulary_file="vocabulary"), data))
  assert (
    "train " in lines.partition("<unk>): ")[2]
    and "warning: much of the training text is <unk>" in lines
  )


def test_the_cache_may_be_shared(data):
  """Tokenizers and encoded text have the permissions that the umask leaves."""
  before = os.umask(0o022)
  try:
    prepare(config_of(), data)
  finally:
    os.umask(before)
  found = list((data / "cache").rglob("*"))
  assert len(found) > 9
  for path in found:
    assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_a_cache_of_another_user_is_refused_before_the_learning(data, monkeypatch):
  monkeypatch.setattr(prepare_module, "train_tokenizer", lambda *_: pytest.fail("it was learned"))
  monkeypatch.setattr(prepare_module.os, "access", lambda *_: False)
  with pytest.raises(WorkdirError, match="another user; set TRANSFORMER_JAX_CACHE"):
    prepare(config_of(), data)


def test_the_files_without_text_are_named(data):
  for side in ("en", "de"):
    (data / f"train.{side}").write_text("\n  \n")
  with pytest.raises(DataError, match=r"--train_source=train.en, --train_target=train.de"):
    prepare(config_of(), data)


def test_valid_keeps_long_pairs_but_for_those_without_a_position(data):
  for side in ("en", "de"):
    with open(data / f"valid.{side}", "a", encoding="utf-8") as file:
      file.write("x y " * 40 + "\n")
  assert prepare(config_of(), data).counts["valid"].kept == 6
  assert prepare(config_of(positions="learned", max_positions=40), data).counts["valid"].kept == 5


def test_preprocessed_splits_are_not_preprocessed_again(data):
  for side in ("en", "de"):
    (data / f"valid.{side}").write_text("a &apos; b\n")
  plain = config_of(preprocessing="moses_lowercase", tokenizer="segmented", vocab_size=100)
  (data / "train.en").write_text("a ' b & ; apos amp\n" * 60)
  given = plain.replace(preprocessed_splits="valid")
  twice, once = (prepare(config, data) for config in (plain, given))
  pieces = lambda prepared: prepared.task.source_pieces(prepared.encoded["valid"].source(0))
  assert pieces(once) == ["a", "&apos;", "b", "</s>"]
  assert pieces(twice) != pieces(once)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_nothing_left_is_an_error(data, split):
  for side in ("en", "de"):
    (data / f"{split}.{side}").write_text("\n" if split == "train" else "")
  with pytest.raises(DataError):
    prepare(config_of(tokenizer="segmented"), data)


BLANK = "\n \n\t\n"


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize(
  "sides, said",
  [
    (("en", "de"), "none of its 3 pairs has text on both sides: 3 have no source, 3 no target"),
    (("en",), "none of its 3 pairs has text on both sides: 3 have no source, 0 no target"),
  ],
)
def test_blank_files_are_named_with_their_split(data, split, sides, said):
  for side in ("en", "de"):
    (data / f"{split}.{side}").write_text(BLANK if side in sides else "a\nb\nc\n")
  test_files = dict(test_source="test.en", test_target="test.de") if split == "test" else {}
  with pytest.raises(DataError) as caught:
    prepare(config_of(**test_files), data)
  assert str(caught.value).startswith(
    f"{split} data (--{split}_source={split}.en, --{split}_target={split}.de): {said}"
  )


@pytest.mark.parametrize("split", ["train", "valid"])
def test_empty_files_are_named_with_their_split(data, split):
  for side in ("en", "de"):
    (data / f"{split}.{side}").write_text("")
  with pytest.raises(
    DataError, match=rf"^{split} data \(--{split}_source={split}.en, .*has no pairs"
  ):
    prepare(config_of(), data)


def test_numbers_that_are_all_in_training_leave_none_to_validate_on(data):
  config = tiny_config(numbers_limit=100, numbers_train_size=100, numbers_all_below=100)
  with pytest.raises(DataError, match=r"^valid data .*has no pairs.*; lower --numbers_all_below"):
    prepare(config, data)


def test_empty_trees_are_named(data):
  (data / "none.trees").write_text("")
  (data / "one.trees").write_text("(TOP (NP (NN cat)))\n")
  config = tiny_config(
    task="parsing",
    data_source="treebank",
    embedding_sharing="none",
    train_trees="one.trees",
    valid_trees="none.trees",
  )
  with pytest.raises(DataError, match=r"^valid data \(--valid_trees=none.trees\): has no pairs"):
    prepare(config, data)


def test_a_tag_that_is_a_label_too_cannot_be_counted_as_a_word(data):
  """`t2t` writes both alike, so a symbol of the vocabulary may be either."""
  tree = "(TOP (S (ADV (ADV sehr) (ADV gern)) (V lacht) (ADV heute)))\n"
  (data / "train.trees").write_text(tree * 3 + "(TOP (S (N wer) (V lacht)))\n")
  settings = dict(
    task="parsing",
    data_source="treebank",
    embedding_sharing="none",
    tokenizer="segmented",
    train_trees="train.trees",
    valid_trees="train.trees",
  )
  words = dict(settings, positions="words", d_model=8)
  with pytest.raises(DataError, match=r"^3 of 4 training trees: have a tag .*=vinyals"):
    prepare(tiny_config(**words, linearization="t2t"), data)
  assert len(prepare(tiny_config(**words, linearization="vinyals"), data).encoded["train"]) == 4
  assert len(prepare(tiny_config(**settings, linearization="t2t"), data).encoded["train"]) == 4


def test_the_error_for_pairs_that_are_all_too_long_gives_their_lengths(data):
  for side in ("en", "de"):
    (data / f"train.{side}").write_text("a b c d e f\n\na b c d e f g h\n")
  with pytest.raises(DataError) as caught:
    prepare(config_of(tokenizer="segmented", max_length=5), data)
  assert str(caught.value) == (
    "train data (--train_source=train.en, --train_target=train.de): no pairs are left: "
    "2 longer than 5 tokens, 1 with an empty side; their longer sides have 7 to 9 tokens; "
    "raise --max_length to at least 7, or give other text"
  )


def test_pairs_with_an_empty_side_count_for_every_kind_of_positions(data):
  for side in ("en", "de"):
    with open(data / f"valid.{side}", "a", encoding="utf-8") as file:
      file.write("x y " * 40 + "\n" if side == "en" else "x\n")
      file.write("\n" if side == "en" else "x\n")
  plain, learned = (
    prepare(config_of(**settings), data)
    for settings in ({}, dict(positions="learned", max_positions=40))
  )
  assert plain.counts["valid"].kept == 7
  assert learned.counts["valid"].kept == 6 and learned.counts["valid"].dropped == {
    "longer than 40 tokens": 1
  }
  pairs = [
    [
      (list(p.encoded["valid"].source(i)), list(p.encoded["valid"].target(i)))
      for i in range(len(p.encoded["valid"]))
    ]
    for p in (plain, learned)
  ]
  assert pairs[1] == pairs[0][:5] + pairs[0][6:]
  assert sum(int((batch.target_BT > 0).any(1).sum()) for batch in learned.valid_batches()) == 6


def test_a_setting_that_nothing_reads_is_refused_only_for_a_new_run(data, tmp_path):
  config = config_of(bpe_merges=20)
  with pytest.raises(
    ConfigError, match="--bpe_merges=20: is read only with --tokenizer=subword_nmt, but"
  ):
    prepare(config, data)
  save_tokenizer(prepare(config_of(), data).task.tokenizer, tmp_path / "of_a_run")
  resumed = prepare(config, data, tmp_path / "of_a_run")
  assert any(
    "--bpe_merges=20" in line for line in data_lines(config, resumed, resumed.stream_from())
  )


def test_train_refuses_such_a_setting_before_there_is_a_folder_and_resumes_a_run_that_holds_one(
  tmp_path, monkeypatch
):
  class Reached(Exception):
    """Raised instead of preparing the data."""

  def reached(*_, **__):
    raise Reached

  monkeypatch.setattr(train_module, "prepare", reached)
  config = tiny_config(train_source="mine.en")
  with pytest.raises(
    ConfigError, match=r"--train_source=mine.en: is read only with --data_source=text, but"
  ):
    train_module.train(config, tmp_path / "run", tmp_path)
  assert not (tmp_path / "run").exists()
  Workdir(tmp_path / "older").write_config(config.to_flat())
  with pytest.raises(Reached):
    train_module.train(config, tmp_path / "older", tmp_path)


def test_a_tokenizer_learns_from_a_sample_above_the_limit(data, monkeypatch):
  read = []
  train = prepare_module.train_tokenizer

  def noting(settings, texts, data_root):
    read.append(list(texts))
    return train(settings, read[-1], data_root)

  monkeypatch.setattr(prepare_module, "train_tokenizer", noting)
  for limit in (0, 120, 119, 40):
    prepare(config_of(tokenizer_sentences=limit), data)
  everything, at_the_limit, below, sampled = read
  assert everything == at_the_limit and len(everything) == 120
  assert len(below) == 118 and len(sampled) == 40
  pairs = lambda texts: list(zip(texts[::2], texts[1::2], strict=True))
  assert all(source.upper() == target for source, target in pairs(sampled))
  places = [pairs(everything).index(pair) for pair in pairs(sampled)]
  assert places == sorted(places)
  prepare(config_of(tokenizer_sentences=40), data)
  assert len(read) == 4  # it was kept under a key of its own


@pytest.mark.parametrize("settings", [dict(tokenizer="subword_nmt", bpe_merges=20), {}])
def test_a_limit_that_the_text_does_not_reach_changes_no_bit(data, settings):
  first, second = (
    prepare(config_of(**settings, tokenizer_sentences=limit), data) for limit in (0, 1000)
  )
  assert first.fingerprint == second.fingerprint


def test_filters_are_counted_in_what_prepare_says(data):
  for side, text in (("en", "same\n...\na cat\nthe cat\nthe cat\n"), ("de", "same\nx\n")):
    with open(data / f"train.{side}", "a", encoding="utf-8") as file:
      file.write(text + "A CAT on a mat and a mat\nTHE CAT\nTHE CAT\n" * (side == "de"))
  filters = dict(drop_identical=True, drop_wordless=True, drop_duplicates=True)
  plain = prepare(config_of(), data)
  assert plain.counts["train"].kept == 65 and not plain.counts["train"].dropped
  found = prepare(config_of(**filters), data)
  dropped = found.counts["train"].dropped
  assert dropped["with identical sides"] == dropped["without a letter or digit"] == 1
  assert dropped["that came before"] >= 1
  assert found.counts["train"].kept + sum(dropped.values()) == 65
  assert found.counts["valid"].kept == 5 and not found.counts["valid"].dropped
  assert found.fingerprint == plain.fingerprint  # that of text and tokenizer
  lines = lines_of(found)
  assert "1 with identical sides" in lines and "1 without a letter or digit" in lines
  assert " that came before" in lines


def test_a_ratio_below_one_is_refused():
  with pytest.raises(ConfigError, match=r"--max_length_ratio=0.5: is below 1"):
    config_of(max_length_ratio=0.5)


@pytest.mark.parametrize(
  "settings",
  [
    dict(),
    dict(tokenizer="subword_nmt", bpe_merges=20, preprocessing="moses"),
    dict(tokenizer="segmented"),
  ],
)
def test_other_processes_encode_to_the_same_bits(data, monkeypatch, settings):
  alone = prepare(config_of(**settings), data).encoded["train"]
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", str(data / "other"))
  monkeypatch.setattr(encoding, "_BATCH", 7)
  monkeypatch.setattr(workers, "_ALONE", 1)
  monkeypatch.setattr(workers, "usable_cores", lambda: 2)
  together = prepare(config_of(**settings), data).encoded["train"]
  assert together.counts == alone.counts
  for index in range(len(alone)):
    np.testing.assert_array_equal(alone.source(index), together.source(index))
    np.testing.assert_array_equal(alone.target(index), together.target(index))


def test_trees_are_encoded_in_other_processes_too(data, monkeypatch):
  trees = [f"(TOP (NP (DT the) (NN cat{n % 5})))" for n in range(30)]
  (data / "some.trees").write_text("\n".join(trees) + "\n")
  config = tiny_config(
    task="parsing",
    data_source="treebank",
    embedding_sharing="none",
    train_trees="some.trees",
    valid_trees="some.trees",
    vocab_size=40,
  )
  monkeypatch.setattr(encoding, "_BATCH", 7)
  monkeypatch.setattr(workers, "_ALONE", 1)
  monkeypatch.setattr(workers, "usable_cores", lambda: 2)
  assert prepare(config, data).counts["train"].kept == 30


def test_a_start_reads_text_only_if_it_has_changed_or_that_is_asked_for(data, monkeypatch):
  monkeypatch.setattr(fingerprints, "_LARGE", 100)
  monkeypatch.setattr(fingerprints, "_SETTLED_AFTER", -1)
  first = prepare(config_of(), data)
  read = []
  read_facts = fingerprints._read_facts
  monkeypatch.setattr(
    fingerprints, "_read_facts", lambda path: read.append(path.name) or read_facts(path)
  )
  assert prepare(config_of(), data).fingerprint == first.fingerprint
  assert not set(read) & {"train.en", "train.de", "source.npy", "target.npy"}
  assert prepare(config_of(), data, by_content=True).fingerprint == first.fingerprint
  assert {"train.en", "train.de", "source.npy", "target.npy"} <= set(read)


def test_another_version_of_the_library_encodes_anew(data, monkeypatch):
  prepare(config_of(), data)
  files = lambda: {path for path in (cache_folder() / "encoded").rglob("*") if path.is_file()}
  before = files()
  prepare(config_of(), data)
  assert files() == before
  monkeypatch.setattr(importlib.metadata, "version", lambda package: f"another {package}")
  prepare(config_of(), data)
  assert files() > before
