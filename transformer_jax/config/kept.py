"""The settings that a run keeps from the run whose parameters it begins with (`init_from`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from transformer_jax.config.experiment import Config
from transformer_jax.config.model import ModelConfig
from transformer_jax.config.setting import Value
from transformer_jax.errors import ConfigError

# Settings of the model that its parameters do not depend on.
_FREE = {
  "dropout_rate",
  "attention_dropout_rate",
  "relu_dropout_rate",
  "attention_kernel",
  "rematerialize",
  "dtype",
}

# Settings of the data: the tokenizer, the text that it was learned on, and what its tokens mean.
_OF_THE_TOKENIZER = (
  "task",
  "linearization",
  "preprocessing",
  "tokenizer",
  "vocab_size",
  "tokenizer_sentences",
  "bpe_codes",
  "bpe_merges",
  "vocabulary_file",
)

# These are taken over too, but a run may name other languages.
_LANGUAGES = ("source_language", "target_language")


def default_settings(source: Mapping[str, Any]) -> dict[str, Value]:
  """Returns name -> value of the settings that a run takes over unless they are given.

  They are those of `kept_settings`, and the languages.

  Args:
    source: flat settings of the run that the parameters are from.
  """
  return {**kept_settings(source), **{name: source[name] for name in _LANGUAGES}}


def kept_settings(source: Mapping[str, Any]) -> dict[str, Value]:
  """Returns name -> value of the settings that a run keeps from the one it begins with.

  They decide which parameters there are and what they compute, and the tokenizer.

  Args:
    source: flat settings of the run that the parameters are from.
  """
  names = [field.name for field in dataclasses.fields(ModelConfig) if field.name not in _FREE]
  if source["positions"] != "learned":
    names.remove("max_positions")
  return {name: source[name] for name in (*names, *_OF_THE_TOKENIZER)}


def check_kept(config: Config, source: Mapping[str, Any], where: str) -> None:
  """Refuses a configuration that does not keep the settings it must.

  Args:
    config: the Config of the new run.
    source: flat settings of the run that the parameters are from.
    where: the workdir of that run.

  Raises:
    ConfigError: names the first such setting, and both values.
  """
  flat = config.to_flat()
  for name, value in kept_settings(source).items():
    if flat[name] != value:
      theirs = "none" if value == "" else value
      raise ConfigError(
        f"--{name}={flat[name]}",
        f"the run in {where}, whose parameters this one begins with, has {theirs}",
        f"leave it out, or give --{name}={value}",
      )
