"""`ablate`: trains every row of a table with several seeds, resumes what was interrupted, and keeps one small JSON a run.

A run whose JSON is there, made with the same settings, counts as done: a table grows over days and machines.
"""

import base64
import dataclasses
import hashlib
import json
import pathlib
import zlib

import jax
import numpy as np

from transformer_jax.analysis.cost import parameter_counts, training_seconds
from transformer_jax.analysis.hardware import hardware
from transformer_jax.config import Config
from transformer_jax.data.tokenizer_folder import load_tokenizer
from transformer_jax.errors import DataError, Interrupted
from transformer_jax.metrics.bleu import sentence_statistics
from transformer_jax.runs.build import build_task
from transformer_jax.runs.evaluate import evaluate, evaluation_stem
from transformer_jax.runs.train import CHANGEABLE, train
from transformer_jax.runs.workdir import Workdir, atomic_write, git_revision, versions
from transformer_jax.strict_json import json_text

# How a run is carried out and watched; a run with other values of these is the same run.
_NOT_OF_THE_RESULT = (CHANGEABLE - {"train_steps", "beam_size", "length_penalty", "length_penalty_form", "max_extra_length",
                                    "max_source_length", "average_last"}) | {"seed", "attention_kernel", "deterministic"}


@dataclasses.dataclass(frozen=True)
class TableRow:
  """A row: the stem of its flag file, and what the file says."""

  name: str
  config: Config

  def differences(self, base):
    """Settings that differ from the base row's: name -> value."""
    theirs = base.config.to_flat()
    return {name: value for name, value in self.config.to_flat().items() if value != theirs[name]}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A finished run, as its JSON has it; per sentence, for comparing runs on the same sentences."""

  summary: dict  # row, seed, perplexity, bleu, parameters, hours, hardware, revision, ...
  statistics_SK: np.ndarray  # int: BLEU's matches and totals of 1- to 4-grams, lengths of hypothesis and reference
  log_probs_S: np.ndarray  # float, nats
  tokens_S: np.ndarray  # int, EOS included


def settings_hash(config):
  """SHA-256 of the settings that a row's result depends on, its seed apart.

  Those that have their default are left out, so that a setting that is added later leaves old results what they are.
  """
  default = Config().to_flat()
  settings = {name: value for name, value in config.to_flat().items() if name not in _NOT_OF_THE_RESULT and value != default[name]}
  return hashlib.sha256(json_text(settings, sort_keys=True).encode()).hexdigest()


def result_path(results, row, seed):
  """The JSON of a run."""
  return pathlib.Path(results) / f"{row.name}-seed{seed}.json"


def missing_runs(rows, seeds, results):
  """(row, seed) of every run that is not done, all rows of a seed before the next seed."""
  return [(row, seed) for seed in seeds for row in rows if load_outcome(results, row, seed) is None]


def run_all(rows, seeds, *, workdir, results, data_root, split, log, after_each):
  """Trains and scores what is missing; a row that fails is told and the rest go on.

  Args:
    rows: TableRows.
    seeds: list of seeds.
    workdir: folder whose ROW/seed-N are the runs' workdirs; a run that was interrupted goes on there.
    results: folder of the JSONs.
    data_root: folder that relative data paths start from.
    split: what is scored.
    log: function that hears of progress.
    after_each: function () called after each run.

  Returns:
    (row's name, seed) -> why it failed.

  Raises:
    Interrupted: SIGTERM, SIGHUP or Ctrl-C; the run under way is saved, and the same call goes on.
  """
  failures = {}
  todo = missing_runs(rows, seeds, results)
  for number, (row, seed) in enumerate(todo, 1):
    log(f"run {number} of {len(todo)}: {row.name}, seed {seed}")
    folder = pathlib.Path(workdir) / row.name / f"seed-{seed}"
    try:
      _run(row, seed, folder, results, data_root, split)
    except (Interrupted, KeyboardInterrupt):
      raise
    except Exception as error:  # pylint: disable=broad-except  # whatever it is, the other rows are wanted
      failures[row.name, seed] = f"{type(error).__name__}: {error}".splitlines()[0]
      log(f"{row.name}, seed {seed} failed: {failures[row.name, seed]}")
    jax.clear_caches()  # another row's programs are of no use, and dozens of rows fill the memory
    after_each()
  return failures


def _run(row, seed, folder, results, data_root, split):
  train(row.config.replace(seed=seed), folder, data_root)
  scores = evaluate(folder, split=split, overrides={}, data_root=data_root)
  stem = evaluation_stem(folder, split, scores["steps"])
  sentences = [json.loads(line) for line in pathlib.Path(f"{stem}.sentences.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
  seconds = training_seconds(Workdir(folder, primary=False).read_metrics())
  task = build_task(row.config.data, load_tokenizer(folder / "tokenizer"))
  summary = dict(
      row=row.name, seed=seed, settings_sha256=settings_hash(row.config),
      parameters=sum(parameter_counts(row.config.model, task.source_vocab_size, task.target_vocab_size).values()), split=split,
      sentences=len(sentences), steps=scores["steps"], perplexity=scores["perplexity"], bleu=scores["bleu"], bleu_name=scores["name"],
      signature=scores["signature"], exact_match=scores["exact_match"], update_hours=seconds / 3600, hardware=hardware(),
      versions=versions(), git_revision=git_revision())
  tokenizes = row.config.data.preprocessing == "none"
  statistics_SK = sentence_statistics([s["hypothesis"] for s in sentences], [s["reference"] for s in sentences],
                                      "13a" if tokenizes else "none")
  packed = dict(bleu_statistics=_pack(statistics_SK.astype("<i2")), log_probs=_pack(np.array([s["log_prob"] for s in sentences], "<f4")),
                tokens=_pack(np.array([s["tokens"] for s in sentences], "<i2")))
  pathlib.Path(results).mkdir(parents=True, exist_ok=True)
  atomic_write(result_path(results, row, seed), json_text(dict(summary, **packed), indent=1) + "\n")


def load_outcome(results, row, seed):
  """The Outcome of a run, or None where there is none or it was made with other settings.

  Raises:
    DataError: a JSON that is no run's.
  """
  path = result_path(results, row, seed)
  try:
    content = json.loads(path.read_bytes())
    if content["settings_sha256"] != settings_hash(row.config):
      return None
    if content["perplexity"] is None:  # JSON has no infinity
      content["perplexity"] = np.inf
    statistics_SK = _unpack(content.pop("bleu_statistics"), "<i2").reshape(content["sentences"], -1).astype(np.int64)
    return Outcome(summary=content, statistics_SK=statistics_SK, log_probs_S=_unpack(content.pop("log_probs"), "<f4").astype(np.float64),
                   tokens_S=_unpack(content.pop("tokens"), "<i2").astype(np.int64))
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
    raise DataError(path, f"is not the result of a run: {error}", "remove it, and the run is done again") from None


def _pack(array):
  return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()


def _unpack(text, dtype):
  return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype)
