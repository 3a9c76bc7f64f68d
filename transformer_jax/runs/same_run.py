"""Checks that a start of `train` continues the run in its workdir: same settings and tokenizer."""

import pathlib
from typing import Any

import numpy as np

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config, split_list
from transformer_jax.data.tokenizers.folder import fingerprint
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath
from transformer_jax.runs.build import check_kernel
from transformer_jax.runs.prepare import Prepared, make_tokenizer
from transformer_jax.workdir.folder import Workdir, whole_settings

# Settings that may change when a run is resumed: they decide what is reported and kept, not what
# is computed.
CHANGEABLE = frozenset(
  {
    "train_steps",
    "log_every",
    "evaluate_every",
    "bleu_sentences",
    "evaluation_beam_size",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_best",
    "patience",
    "max_nonfinite_updates",
    "beam_size",
    "length_penalty",
    "length_penalty_form",
    "early_stopping",
    "max_extra_length",
    "constrained",
    "decode_batch_tokens",
    "max_source_length",
    "average_last",
    "tfds_data_dir",
  }
)

# Where the text lies. A checkpoint identifies the text by its SHA-256, so it may lie elsewhere when
# the run is resumed, and a test set may be added.
_PLACES = {
  "tfds_splits",
  "dataset",
  "dataset_config",
  "dataset_splits",
  "source_column",
  "target_column",
  "treebank",
} | {
  f"{split}_{part}"
  for split in ("train", "valid", "test")
  for part in ("source", "target", "sections", "trees")
}
_TOKENIZER_FILES = ("bpe_codes", "vocabulary_file")

_LEAST_EPSILON = float(np.finfo(np.float32).tiny)  # smaller numbers are 0 on devices


def stored_settings(folder: Workdir) -> dict[str, Any] | None:
  """Returns the flat settings of the run in a workdir, or None if there is no run.

  They are read from config.json, or from the latest checkpoint if that file is gone.
  """
  if folder.has_config():
    return folder.read_config()
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    if not checkpoints.steps():
      return None
    folder.log("warning: config.json is gone; the latest checkpoint has the settings")
    return whole_settings(checkpoints.meta().get("config"), folder.checkpoints)


def agreed_config(config: Config, stored: dict[str, Any] | None, where: pathlib.Path) -> Config:
  """Returns the configuration to train with, which agrees with the stored settings, if any.

  It is the given one, except for an attention kernel of "auto". The stored kernel takes its place,
  since another kernel would give other bits.

  Raises:
    ConfigError: a setting cannot be trained with, or would make it another run than the stored one.
  """
  epsilon = config.train.adam_epsilon
  if epsilon < _LEAST_EPSILON:
    raise ConfigError(
      f"--adam_epsilon={epsilon:g}",
      "is 0 in float32, so Adam would divide by 0",
      "such as 1e-9",
    )
  if stored:
    _refuse_imported(Workdir(where, primary=False))
    if config.model.attention_kernel == "auto":
      config = config.replace(attention_kernel=stored["attention_kernel"])
    check_same_settings(config, stored, where)
  check_kernel(config)
  return config


def _refuse_imported(folder: Workdir) -> None:
  """Refuses to go on with a model that was imported: it has no optimizer and no data.

  Raises:
    ConfigError: says how it is trained further.
  """
  if _is_imported(folder):
    raise ConfigError(
      f"--workdir={folder.path}",
      "holds an imported model, which stays as it is",
      f"train a copy in another workdir, with --init_from={folder.path}",
    )


def _is_imported(folder: Workdir) -> bool:
  if folder.has_config():
    return folder.is_imported()
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    return bool(checkpoints.meta().get("imported_from"))


def check_same_settings(config: Config, stored: dict[str, Any], where: StrPath) -> None:
  """Refuses a configuration that differs from a run's flat settings where it must not.

  Raises:
    ConfigError: names the setting.
  """
  for name, value in config.to_flat().items():
    if _identity(name, value) != _identity(name, stored[name]):
      before = "none" if stored[name] == "" else stored[name]
      raise ConfigError(
        f"--{name}={value}",
        f"the run in {where} was started with {before}",
        "use that value, or another --workdir",
      )


def _identity(name: str, value: Any) -> Any:
  """Returns the part of a setting that must not change in a run; None if it may change freely."""
  if name in CHANGEABLE or name in _PLACES:
    return None
  if name in _TOKENIZER_FILES:
    return bool(value)
  if name == "preprocessed_splits":
    return set(split_list(value)) - {"test"}
  return value


def check_same_tokenizer(
  config: Config, stored: dict[str, Any], prepared: Prepared, data_root: StrPath
) -> None:
  """Refuses a file of codes or words that gives another tokenizer than the run's own.

  Raises:
    ConfigError: names the setting.
  """
  for name in _TOKENIZER_FILES:
    value = getattr(config.data, name)
    if value == stored[name]:
      continue
    other = make_tokenizer(config.data, prepared.source, data_root)
    if fingerprint(other) != fingerprint(prepared.task.tokenizer):
      raise ConfigError(
        f"--{name}={value}",
        f"gives another tokenizer than {stored[name]}, which the run was started with",
        "name the same content, or another --workdir",
      )
