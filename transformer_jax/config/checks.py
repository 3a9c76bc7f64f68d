"""Refuses settings that contradict each other."""

from transformer_jax.config.data import DataConfig
from transformer_jax.config.decode import DecodeConfig
from transformer_jax.config.lists import parse_sections, split_list, whole_number
from transformer_jax.config.model import ModelConfig
from transformer_jax.config.train import TrainConfig
from transformer_jax.errors import ConfigError

_SPLITS = ("train", "valid", "test")
_SOURCES = dict(
  translation=("numbers", "text", "tfds", "huggingface"), parsing=("treebank", "grammar")
)


def check_together(
  model: ModelConfig, data: DataConfig, train: TrainConfig, decode: DecodeConfig
) -> None:
  """Checks settings against each other; each one is in its range already.

  Raises:
    ConfigError: names the first one that contradicts another.
  """
  _check_sizes(model, data, train)
  _check_filters(data)
  if data.data_source == "text":
    _check_text_files(data)
  if data.data_source == "tfds":
    _check_split_names("tfds_splits", data.tfds_splits)
  if data.data_source == "huggingface":
    if not data.dataset:
      raise ConfigError(
        "--dataset",
        "is empty, but --data_source=huggingface reads it",
        "name a dataset such as wmt/wmt14, or a folder",
      )
    _check_split_names("dataset_splits", data.dataset_splits)
    _check_columns(data)
  if decode.average_last > train.keep_checkpoints:
    raise ConfigError(
      "--average_last",
      f"averages {decode.average_last} checkpoints, but --keep_checkpoints="
      f"{train.keep_checkpoints} keeps fewer",
      f"at most {train.keep_checkpoints}",
    )
  _check_preprocessed_splits(data)
  _check_numbers(data)
  if data.data_source in ("numbers", "tfds") and data.tokenizer == "segmented":
    raise ConfigError(
      "--tokenizer=segmented",
      f"--data_source={data.data_source} is not segmented",
      "use --data_source=text",
    )
  _check_task(data, decode)
  if data.task == "parsing":
    _check_parsing(model, data)
  if data.data_source == "treebank":
    _check_treebank(data)
  _check_init_checkpoint(train.init_checkpoint)


def _check_init_checkpoint(name: str) -> None:
  if name not in ("best", "last") and whole_number(name) is None:
    raise ConfigError(
      f"--init_checkpoint={name}",
      "is not a checkpoint",
      "give best, last or a step, such as 100000",
    )


def _check_sizes(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
  if model.positions.startswith("sinusoidal") and model.d_model % 2:
    raise ConfigError(
      "--d_model",
      f"{model.d_model} is odd, but sinusoids come in pairs",
      "use an even width or --positions=learned",
    )
  if model.positions == "words":
    _check_word_positions(model, data, train)
  if data.max_length > data.batch_tokens:
    raise ConfigError(
      "--batch_tokens",
      f"{data.batch_tokens} cannot hold a pair as long as --max_length={data.max_length}",
      "raise --batch_tokens or lower --max_length",
    )
  if model.positions == "learned" and model.max_positions < data.max_length:
    raise ConfigError(
      "--max_positions",
      f"{model.max_positions} positions are too few for --max_length={data.max_length}",
      "raise --max_positions or lower --max_length",
    )


def _check_word_positions(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
  if data.task != "parsing":
    raise ConfigError(
      "--positions=words",
      "numbers the words that a tree is built on, which only parsing has",
      "use --task=parsing, or other positions",
    )
  if model.d_model % 4:
    raise ConfigError(
      "--d_model",
      f"{model.d_model} is no multiple of 4, but --positions=words has two sets of sinusoids",
      "use such a width",
    )
  if train.word_dropout_rate:
    raise ConfigError(
      "--word_dropout_rate",
      "takes away sub-words that --positions=words counts",
      "leave out one of the two",
    )


def _check_columns(data: DataConfig) -> None:
  """Refuses one column for both sides: the model would learn to copy."""
  source = data.source_column or data.source_language
  if source == (data.target_column or data.target_language):
    name = "target_column" if data.target_column else "target_language"
    raise ConfigError(
      f"--{name}={source}",
      "is the column of the source, too",
      "name another one by --source_column or --target_column",
    )


def _check_filters(data: DataConfig) -> None:
  if 0 < data.max_length_ratio < 1:
    raise ConfigError(
      f"--max_length_ratio={data.max_length_ratio:g}",
      "is below 1, so that no pair would be left",
      "such as 3, or 0 for no limit",
    )


def _check_split_names(name: str, value: str) -> None:
  if len(split_list(value)) != len(_SPLITS):
    raise ConfigError(
      f"--{name}", f"'{value}' does not name three splits", "such as train,validation,test"
    )


def _check_text_files(data: DataConfig) -> None:
  if data.has_no_text:
    return
  for split in ("train", "valid"):
    for side in ("source", "target"):
      if not data.files(split, side):
        raise ConfigError(
          f"--{split}_{side}",
          "is empty, but --data_source=text reads it",
          "name one or more files",
        )
  for split in _SPLITS:
    num_sources = len(split_list(data.files(split, "source")))
    num_targets = len(split_list(data.files(split, "target")))
    if num_sources != num_targets:
      raise ConfigError(
        f"--{split}_target",
        f"{num_targets} files, but --{split}_source names {num_sources}",
        "give the same number",
      )


def _check_preprocessed_splits(data: DataConfig) -> None:
  wrong = sorted(set(split_list(data.preprocessed_splits)) - set(_SPLITS))
  if wrong:
    raise ConfigError(
      "--preprocessed_splits", f"'{wrong[0]}' is not a split", f"use {', '.join(_SPLITS)}"
    )


def _check_numbers(data: DataConfig) -> None:
  largest = min(data.numbers_limit, data.numbers_train_size)
  if data.numbers_all_below > largest:
    raise ConfigError(
      "--numbers_all_below",
      f"{data.numbers_all_below} is more than --numbers_limit or --numbers_train_size",
      f"at most {largest}",
    )


def _check_task(data: DataConfig, decode: DecodeConfig) -> None:
  sources = _SOURCES[data.task]
  if data.data_source not in sources:
    raise ConfigError(
      f"--data_source={data.data_source}",
      f"is not a source for --task={data.task}",
      f"use {' or '.join(sources)}",
    )
  if decode.constrained and data.task != "parsing":
    raise ConfigError("--constrained", "needs --task=parsing", "leave it out")


def _check_parsing(model: ModelConfig, data: DataConfig) -> None:
  if model.embedding_sharing == "all":
    raise ConfigError(
      "--embedding_sharing=all",
      "needs one vocabulary, but parsing has two, of words and of brackets",
      "use target or none",
    )
  if data.preprocessing != "none":
    raise ConfigError(
      f"--preprocessing={data.preprocessing}",
      "would change the words that the trees are built on",
      "use none",
    )


def _check_treebank(data: DataConfig) -> None:
  for split in ("train", "valid"):
    if not data.files(split, "trees") and not data.files(split, "sections"):
      raise ConfigError(
        f"--{split}_trees",
        "is empty, but --data_source=treebank reads it",
        f"name files, or --treebank and --{split}_sections",
      )
  for split in _SPLITS:
    sections = data.files(split, "sections")
    parse_sections(sections, f"--{split}_sections")
    if sections and not data.treebank:
      raise ConfigError(
        "--treebank",
        f"is empty, but --{split}_sections={sections} is read from it",
        "name the folder of the wsj_SSNN.mrg files",
      )
