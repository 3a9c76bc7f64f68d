"""What is kept of an ablation's runs, one small JSON each, and which of them are a table's own."""

import base64
import dataclasses
import hashlib
import json
import math
import pathlib
import zlib

import numpy as np

from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import expand_files, hash_file
from transformer_jax.errors import DataError, TransformerJaxError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.metrics.bleu import bleu_of_statistics
from transformer_jax.metrics.labeled_f1 import f1_of_statistics
from transformer_jax.strict_json import json_text

# How a run is carried out and watched; a run with other values of these is the same run.
_NOT_OF_THE_RESULT = {
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
_NAMED_FILES = ("bpe_codes", "vocabulary_file")
MAIN_SCORES = {"bleu": "BLEU", "f1": "F1", "exact_match": "exact match"}  # as tables call them
_NEEDED = (
  "seed",
  "sentences",
  "perplexity",
  "parameters",
  "update_hours",
  "hardware",
  "git_revision",
)


@dataclasses.dataclass(frozen=True)
class TableRow:
  """A row: the stem of its flag file, and what the file says."""

  name: str
  config: Config

  def differences(self, base):
    """Settings that differ from the base row's: name -> value."""
    theirs = base.config.to_flat()
    ours = self.config.to_flat()
    return {name: value for name, value in ours.items() if value != theirs[name]}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A finished run, as its JSON has it; per sentence, for comparing runs on the same sentences."""

  summary: dict  # row, seed, split, perplexity, score (which one is the main one), bleu or f1, ...
  statistics_SK: np.ndarray  # int: the task's `statistics`, whose sums give the main score
  log_probs_S: np.ndarray  # float, nats
  tokens_S: np.ndarray  # int, EOS included

  @property
  def main_score(self) -> str:
    """Which score the statistics give; old results, which do not say, are of BLEU."""
    return self.summary.get("score", "bleu")

  def scores_of(self, name: str, counts_S: np.ndarray) -> np.ndarray:
    """The perplexity or main score of sentences counted so many times: [..., S] gives [...]."""
    if name == "perplexity":
      return np.exp(-(counts_S @ self.log_probs_S) / (counts_S @ self.tokens_S))
    return _main_score(self.summary, counts_S @ self.statistics_SK)


def _main_score(summary, sums):
  """The main score of sums of statistics."""
  name = summary.get("score", "bleu")
  if name == "bleu":
    return bleu_of_statistics(sums, summary["bleu_name"] == "sacrebleu")
  return f1_of_statistics(sums) if name == "f1" else sums[..., 0] / sums[..., 1]


class Text:
  """What a table is scored on: a split, and the text of each row, known by its fingerprints.

  Without `data_root` nothing is known of the text.
  """

  def __init__(self, split: str = "valid", data_root: str | None = None):
    self.split, self._data_root = split, data_root
    self._known = {}
    self.missing = {}  # why text is not known: message -> True, in order

  def fingerprints(self, data) -> dict:
    """SHA-256 of training text, scored text and named files of a DataConfig.

    Empty where they are not here.
    """
    if data not in self._known:
      self._known[data] = self._read(data)
    return self._known[data]

  def _read(self, data):
    if self._data_root is None:
      return {}
    try:
      source = open_source(data, self._data_root)
      found = {split: source.fingerprint(split) for split in ("train", self.split)}
      for name in _NAMED_FILES:
        for path in expand_files(getattr(data, name), self._data_root, name):
          found[name] = hash_file(path).hex()
      return found
    except TransformerJaxError as error:
      self.missing[str(error)] = True
      return {}


def settings_hash(config):
  """SHA-256 of the settings that a row's result depends on, its seed apart.

  Those that have their default are left out, so that a setting that is added later leaves old
  results what they are.
  """
  return _hash_of(
    config,
    _NOT_OF_THE_RESULT
    if config.decode.average_last > 1
    else _NOT_OF_THE_RESULT | {"checkpoint_every"},
  )


def _hash_of(config, but):
  default = Config().to_flat()
  settings = {
    name: value
    for name, value in config.to_flat().items()
    if name not in but and value != default[name]
  }
  return hashlib.sha256(json_text(settings, sort_keys=True).encode()).hexdigest()


def _has_settings_of(content, config):
  """Whether a result is of these settings.

  Old hashes did not hold checkpoint_every, which decides what is averaged: there the averaged steps
  tell.
  """
  if content["settings_sha256"] == settings_hash(config):
    return True
  old_hash = _hash_of(config, _NOT_OF_THE_RESULT | {"checkpoint_every"})
  return content["settings_sha256"] == old_hash and content.get("steps") == _averaged_steps(config)


def _averaged_steps(config):
  """The checkpoints whose mean is scored, of a run that never had another number of updates."""
  train, count = config.train, config.decode.average_last
  regular = range(train.checkpoint_every, train.train_steps, train.checkpoint_every)
  return [*regular[-count:], train.train_steps][-count:]


def why_another(content: dict, row: TableRow, seed: int, text: Text) -> str:
  """Why a result is not this run's, or an empty string.

  What an old result does not tell is not compared.
  """
  if not _has_settings_of(content, row.config):
    return "was made with other settings"
  if content.get("split", "valid") != text.split:
    return f"was scored on {content['split']}"
  if content.get("seed", seed) != seed:
    return f"is of seed {content['seed']}"
  theirs = content.get("text")
  ours = text.fingerprints(row.config.data) if theirs else {}
  others = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
  return f"was made with another {others[0]} text" if others else ""


def result_path(results, row, seed, split="valid"):
  """The JSON of a run."""
  on_split = "" if split == "valid" else f"-{split}"
  return pathlib.Path(results) / f"{row.name}-seed{seed}{on_split}.json"


def load_outcome(results, row, seed, text=Text()):
  """The Outcome of a run, or None where there is none or it was made with other settings or text.

  Raises:
    DataError: a JSON that is no run's.
  """
  # Results of test were once called as those of valid are.
  paths = [result_path(results, row, seed, split) for split in (text.split, "valid")]
  for path in dict.fromkeys(paths):
    content = _read(path)
    if content is not None and not why_another(content, row, seed, text):
      return _outcome(path, content)
  return None


def why_not_taken(results, row: TableRow, seed: int, text: Text) -> str:
  """Why the JSON in a run's place is not its result; empty where there is none, or it is."""
  path = result_path(results, row, seed, text.split)
  content = _read(path)
  why = "" if content is None else why_another(content, row, seed, text)
  return why and f"{path.name} {why}"


def save_outcome(results, row: TableRow, text: Text, outcome: Outcome) -> pathlib.Path | None:
  """Writes a run's JSON. What stands in its place and is not its own is kept under another name.

  Returns:
    That name, or None.
  """
  seed, moved = outcome.summary["seed"], None
  path = result_path(results, row, seed, text.split)
  with as_workdir_error(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if why_not_taken(results, row, seed, text):
      digest = hashlib.sha256(path.read_bytes()).hexdigest()
      moved = path.with_stem(f"{path.stem}-{digest[:8]}")
      path.replace(moved)
  content = dict(
    outcome.summary,
    text=text.fingerprints(row.config.data),
    statistics=_pack(outcome.statistics_SK, "<i4"),
    log_probs=_pack(outcome.log_probs_S, "<f4"),
    tokens=_pack(outcome.tokens_S, "<i4"),
  )
  atomic_write(path, json_text(content, indent=1) + "\n")
  return moved


def _read(path):
  """The object of a run's JSON, None where there is no file."""
  try:
    content = json.loads(path.read_bytes())
    if not isinstance(content["settings_sha256"], str):
      raise TypeError("its settings_sha256 is no text")
    return content
  except FileNotFoundError:
    return None
  except OSError as error:
    raise DataError(path, f"cannot be read: {error.strerror}") from None
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise _no_result(path, error) from None


def _outcome(path, content):
  """The Outcome of a JSON's object."""
  try:
    _check(content)
    content = _without_nonfinite(content)
    count = content["sentences"]
    statistics = "statistics" if "statistics" in content else "bleu_statistics"
    statistics_SK = _unpack(content.pop(statistics), "<i2").reshape(count, -1)
    log_probs_S = _unpack(content.pop("log_probs"), "<f4")
    tokens_S = _unpack(content.pop("tokens"), "<i2")
    if not len(log_probs_S) == len(tokens_S) == count:
      raise ValueError(f"has {len(tokens_S)} and {len(log_probs_S)} sentences, and says {count}")
    outcome = Outcome(
      content,
      statistics_SK.astype(np.int64),
      log_probs_S.astype(np.float64),
      tokens_S.astype(np.int64),
    )
    outcome.scores_of(outcome.main_score, np.ones(count))
    return outcome
  except (ValueError, LookupError, TypeError, AttributeError, zlib.error) as error:
    raise _no_result(path, error) from None


def _check(content):
  """Raises where a summary lacks what a table says. A score may be null: it was not finite."""
  main_score = content.get("score", "bleu")
  if main_score not in MAIN_SCORES:
    raise ValueError(f"its score {main_score!r} is not known")
  for names, place in (
    ((*_NEEDED, main_score), content),
    (("device", "processor", "cores"), content.get("hardware")),
  ):
    if missing := [name for name in names if name not in place]:
      raise KeyError(missing[0])
  scores = ("perplexity", main_score)
  for name in (*scores, "parameters", "update_hours"):
    is_null_score = content[name] is None and name in scores
    if type(content[name]) not in (int, float) and not is_null_score:
      raise TypeError(f"its {name} is no number")
  if not math.isfinite(content["update_hours"]):
    raise ValueError("its update_hours are not finite")


def _without_nonfinite(summary):
  """A copy with None for figures that are not finite, for which JSON has no word."""
  return {
    name: None if isinstance(value, float) and not math.isfinite(value) else value
    for name, value in summary.items()
  }


def _no_result(path, error):
  problem = f"it has no {error}" if isinstance(error, KeyError) else error
  return DataError(
    path, f"is not the result of a run: {problem}", "remove it, and the run is done again"
  )


def _pack(array, dtype):
  """An array as text: its dtype, and its bytes compressed."""
  return f"{dtype}:{base64.b64encode(zlib.compress(array.astype(dtype).tobytes(), 9)).decode()}"


def _unpack(text, old_dtype):
  """The array of `_pack`; old ones do not say their dtype."""
  dtype, _, packed = text.rpartition(":")
  if dtype not in ("", "<i4", "<f4"):
    raise ValueError(f"'{dtype[:20]}' is no dtype of a result")
  return np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), dtype or old_dtype)
