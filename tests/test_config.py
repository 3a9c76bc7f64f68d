"""Settings that nothing reads are refused in new runs, or warned about if they do no harm."""

import re

import pytest

from transformer_jax.config import Config, fields, refuse_unread, unread_warnings
from transformer_jax.errors import ConfigError

PARSING = dict(task="parsing", data_source="grammar", embedding_sharing="none")
TEXT = dict(
  data_source="text", train_source="a", train_target="b", valid_source="c", valid_target="d"
)
TREES = dict(PARSING, data_source="treebank", train_trees="a", valid_trees="b")


def config(**settings):
  return Config().replace(**settings)


@pytest.mark.parametrize(
  "settings, name, remedy",
  [
    (dict(train_source="a.en"), "--train_source=a.en", "give --data_source=text"),
    (dict(test_target="a.en"), "--test_target=a.en", "give --data_source=text"),
    (dict(PARSING, valid_source="a"), "--valid_source=a", "give --data_source=text"),
    (dict(train_trees="a"), "--train_trees=a", "give --data_source=treebank"),
    (dict(TEXT, test_sections="23"), "--test_sections=23", "give --data_source=treebank"),
    (dict(PARSING, treebank="wsj"), "--treebank=wsj", "give --data_source=treebank"),
    (dict(TREES, treebank="wsj"), "--treebank=wsj", "give --train_sections"),
    (dict(tfds_name="x/y"), "--tfds_name=x/y", "give --data_source=tfds"),
    (dict(TEXT, tfds_splits="a,b,c"), "--tfds_splits=a,b,c", "give --data_source=tfds"),
    (dict(TEXT, dataset="x/y"), "--dataset=x/y", "give --data_source=huggingface"),
    (dict(dataset_config="de-en"), "--dataset_config=de-en", "give --data_source=huggingface"),
    (
      dict(data_source="tfds", dataset_splits="a,b,c"),
      "--dataset_splits=a,b,c",
      "give --data_source=huggingface",
    ),
    (dict(source_column="en"), "--source_column=en", "give --data_source=huggingface"),
    (dict(target_column="de"), "--target_column=de", "give --data_source=huggingface"),
    (
      dict(data_source="huggingface", dataset="x", tfds_name="x/y"),
      "--tfds_name=x/y",
      "give --data_source=tfds",
    ),
    (dict(grammar_train_size=10), "--grammar_train_size=10", "give --data_source=grammar"),
    (dict(TREES, grammar_train_size=10), "--grammar_train_size=10", "give --data_source=grammar"),
    (dict(linearization="t2t"), "--linearization=t2t", "give --task=parsing"),
    (
      dict(preprocessed_splits="test"),
      "--preprocessed_splits=test",
      "give --preprocessing=moses or --preprocessing=moses_lowercase",
    ),
    (dict(bpe_codes="codes"), "--bpe_codes=codes", "give --tokenizer=subword_nmt"),
    (
      dict(TEXT, tokenizer="segmented", bpe_merges=5),
      "--bpe_merges=5",
      "give --tokenizer=subword_nmt",
    ),
    (
      dict(tokenizer="subword_nmt", bpe_codes="codes", bpe_merges=5),
      "--bpe_merges=5",
      "leave --bpe_merges out",
    ),
    (dict(vocabulary_file="words"), "--vocabulary_file=words", "give --tokenizer=segmented"),
    (
      dict(dropout_rate=0.0, dropout_warmup_steps=9),
      "--dropout_warmup_steps=9",
      "give --dropout_rate",
    ),
  ],
)
def test_settings_that_nothing_reads_are_refused_by_name(settings, name, remedy):
  with pytest.raises(ConfigError, match=f"^{re.escape(name)}: is read .*{re.escape(remedy)}"):
    refuse_unread(config(**settings))


@pytest.mark.parametrize(
  "settings",
  [
    {},
    TEXT,
    TREES,
    dict(TREES, treebank="wsj", test_sections="23"),
    dict(PARSING, grammar_train_size=10, linearization="t2t"),
    dict(data_source="tfds", tfds_name="x/y"),
    dict(
      data_source="huggingface",
      dataset="x/y",
      dataset_config="de-en",
      dataset_splits="a,b,c",
      source_column="a",
      target_column="b",
      source_language="fr",
    ),
    dict(tokenizer="subword_nmt", bpe_merges=5),
    dict(tokenizer="subword_nmt", bpe_codes="codes"),
    dict(TEXT, tokenizer="segmented", vocabulary_file="words"),
    dict(preprocessing="moses", preprocessed_splits="valid"),
    dict(positions="learned", max_positions=2000),
    dict(numbers_limit=1000, numbers_all_below=100),
    dict(dropout_rate=0.0, relu_dropout_rate=0.1, dropout_warmup_steps=9),
  ],
)
def test_settings_that_are_read_are_accepted(settings):
  refuse_unread(config(**settings))
  assert not unread_warnings(config(**settings))


@pytest.mark.parametrize(
  "settings, name",
  [
    (dict(TEXT, numbers_limit=1000), "numbers_limit=1000"),
    (dict(PARSING, numbers_train_size=9), "numbers_train_size=9"),
    (dict(target_language="fr"), "target_language=fr"),
    (dict(TEXT, tokenizer="segmented", vocabulary_file="w", vocab_size=99), "vocab_size=99"),
    (dict(evaluation_beam_size=4, bleu_sentences=0), "evaluation_beam_size=4"),
  ],
)
def test_harmless_unread_settings_are_reported(settings, name):
  refuse_unread(config(**settings))
  (line,) = unread_warnings(config(**settings))
  assert line.startswith(f"warning: --{name}: is read only with --")


@pytest.mark.parametrize("settings", [dict(train_steps=3000), dict(train_steps=6001, patience=4)])
def test_patience_that_ends_no_run_early_is_refused(settings):
  """With an evaluation every 1,500 updates, the first of which is the best so far."""
  settings = {"patience": 1, **settings}
  with pytest.raises(ConfigError, match=r"^--patience=\d: cannot end the run early: .*train_steps"):
    refuse_unread(config(**settings))
  refuse_unread(config(**{**settings, "train_steps": settings["train_steps"] + 1500}))
  with pytest.raises(ConfigError, match=r"^--patience: -1 is too small"):
    config(patience=-1)


def test_conditions_name_settings_and_values_that_exist():
  for field in fields().values():
    for other, wanted in field.metadata["only_for"].items():
      assert set(wanted) <= set(fields()[other].metadata["choices"] or ("",))


def test_more_small_numbers_than_there_are():
  with pytest.raises(ConfigError, match="--numbers_all_below: 200"):
    config(numbers_all_below=200, numbers_limit=150)
  with pytest.raises(ConfigError, match="--numbers_all_below: 200"):
    config(numbers_all_below=200, numbers_train_size=150)


def test_words_that_are_counted_are_not_dropped():
  counted = dict(PARSING, positions="words", d_model=8)
  assert config(**counted).model.positions == "words"
  with pytest.raises(ConfigError, match=r"^--word_dropout_rate: takes away sub-words"):
    config(**counted, word_dropout_rate=0.1)


def test_a_number_beyond_float64_is_refused():
  with pytest.raises(ConfigError, match=r"^--dropout_rate: 1000.* is not of type float"):
    config(dropout_rate=10**400)


def test_only_decoding_settings_override_those_of_a_model():
  assert Config().override(dict(beam_size=2, length_penalty=None)).decode.beam_size == 2
  for name, value in (("positions", "none"), ("source_language", "fr"), ("seed", None)):
    with pytest.raises(ConfigError, match=f"^--{name}: is not a decoding setting"):
      Config().override({name: value})
  with pytest.raises(ConfigError, match=r"^--beams: there is no such setting"):
    Config().override(dict(beams=2))


def test_a_new_run_needs_text_also_with_the_tokenizer_of_an_imported_model():
  without = config(data_source="text", tokenizer="marian")
  with pytest.raises(ConfigError, match=r"^--train_source: is empty, but --data_source=text reads"):
    refuse_unread(without)
