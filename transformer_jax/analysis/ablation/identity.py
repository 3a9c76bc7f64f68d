"""Decides whether a kept result belongs to a run: same settings, same seed, same text."""

import hashlib
import os
from collections.abc import Container
from typing import Any

from transformer_jax.analysis.ablation.outcome import TableRow
from transformer_jax.config import Config, DataConfig
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import expand_files, hash_file
from transformer_jax.errors import TransformerJaxError
from transformer_jax.strict_json import json_text

# Settings that decide how a run is carried out and reported, and change no result. The seed is
# compared separately.
NOT_OF_THE_RESULT = {
  "seed",
  "attention_kernel",
  "deterministic",
  "log_every",
  "evaluate_every",
  "bleu_sentences",
  "evaluation_beam_size",
  "keep_checkpoints",
  "keep_best",
  "max_nonfinite_updates",
  "decode_batch_tokens",
  "tfds_data_dir",
}
# Those that decide after which update --patience ends a run.
_OF_PATIENCE = {"evaluate_every", "bleu_sentences", "evaluation_beam_size"}
_NAMED_FILES = ("bpe_codes", "vocabulary_file")


class Text:
  """The text that a table is scored on: a split, and the fingerprints of each row's texts.

  Without `data_root` there are no fingerprints.
  """

  def __init__(self, split: str = "valid", data_root: str | os.PathLike[str] | None = None) -> None:
    self.split = split
    self.missing: list[str] = []  # why fingerprints are missing, each reason once
    self._data_root = data_root
    self._known: dict[DataConfig, dict[str, str]] = {}

  def fingerprints(self, data: DataConfig) -> dict[str, str]:
    """Returns the SHA-256 of training text, scored text and named files.

    The dict is empty if the text is not on this machine.
    """
    if data not in self._known:
      self._known[data] = self._read(data)
    return self._known[data]

  def _read(self, data: DataConfig) -> dict[str, str]:
    if self._data_root is None:
      return {}
    try:
      source = open_source(data, self._data_root)
      found = {split: source.fingerprint(split) for split in ("train", self.split)}
      for name in _NAMED_FILES:
        for path in expand_files(getattr(data, name), os.fspath(self._data_root), name):
          found[name] = hash_file(path).hex()
      return found
    except TransformerJaxError as error:
      if str(error) not in self.missing:
        self.missing.append(str(error))
      return {}


UNKNOWN_TEXT = Text()  # the validation split, without fingerprints


def settings_hash(config: Config) -> str:
  """Returns the SHA-256 of the settings that a row's result depends on, without the seed.

  Settings at their default are left out. So a setting that is added later does not change the hash
  of old results.
  """
  left_out = NOT_OF_THE_RESULT
  if config.train.patience:
    left_out = left_out - _OF_PATIENCE
  if config.decode.average_last == 1:
    left_out = left_out | {"checkpoint_every"}
  return _hash_without(config, left_out)


def old_settings_hash(config: Config) -> str:
  """Returns the hash of older versions. It lacks `checkpoint_every`, which decides the average."""
  return _hash_without(config, NOT_OF_THE_RESULT | {"checkpoint_every"})


def _hash_without(config: Config, left_out: Container[str]) -> str:
  default = Config().to_flat()
  settings = {
    name: value
    for name, value in config.to_flat().items()
    if name not in left_out and value != default[name]
  }
  return hashlib.sha256(json_text(settings, sort_keys=True).encode()).hexdigest()


def averaged_steps(config: Config) -> list[int]:
  """Returns the checkpoints whose mean is scored, if `train_steps` never changed in the run."""
  train = config.train
  count = config.decode.average_last
  regular = range(train.checkpoint_every, train.train_steps, train.checkpoint_every)
  return [*regular[-count:], train.train_steps][-count:]


def _has_settings(content: dict[str, Any], config: Config) -> bool:
  """Returns whether a result was made with these settings."""
  if content["settings_sha256"] == settings_hash(config):
    return True
  # The old hash lacks `checkpoint_every`, but the averaged steps show it.
  is_old = content["settings_sha256"] == old_settings_hash(config)
  return is_old and content.get("steps") == averaged_steps(config)


def why_another(content: dict[str, Any], row: TableRow, seed: int, text: Text) -> str:
  """Returns why a result belongs to another run; "" if it belongs to this one.

  Args:
    content: the JSON of the result. Fields that an old result lacks are not compared.
    row, seed: the run.
    text: what the run is scored on.
  """
  if not _has_settings(content, row.config):
    return "was made with other settings"
  if content.get("split", "valid") != text.split:
    return f"was scored on {content['split']}"
  if content.get("seed", seed) != seed:
    return f"is of seed {content['seed']}"
  theirs = content.get("text")
  if not theirs:
    return ""
  for name, fingerprint in text.fingerprints(row.config.data).items():
    if theirs.get(name, fingerprint) != fingerprint:
      return f"was made with another {name} text"
  return ""
