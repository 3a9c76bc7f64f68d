"""`ablate`: trains all rows of a table with several seeds and keeps one small JSON per run.

Interrupted runs are resumed. A run counts as done if its JSON exists and was made with the same
settings. So a table can grow over days and machines.
"""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from transformer_jax.analysis.ablation.identity import UNKNOWN_TEXT, Text, settings_hash
from transformer_jax.analysis.ablation.outcome import Outcome, TableRow
from transformer_jax.analysis.ablation.results import load_outcome, save_outcome
from transformer_jax.analysis.cost.formulas import parameter_counts, training_seconds
from transformer_jax.config import DataConfig, split_list
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import ConfigError, DataError, Interrupted, TransformerJaxError
from transformer_jax.machine import hardware
from transformer_jax.runs.build import build_task
from transformer_jax.runs.evaluate import evaluate
from transformer_jax.runs.evaluation_files import evaluation_stem
from transformer_jax.runs.train import train
from transformer_jax.tasks.task import Output
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.versions import git_revision, versions

# Scores that a summary keeps if the evaluation has them.
_SCORES = ("bleu", "exact_match", "signature", "f1", "complete_match", "repair_rate")

Folder = str | os.PathLike[str]


def missing_runs(
  rows: Sequence[TableRow], seeds: Sequence[int], results: Folder, text: Text = UNKNOWN_TEXT
) -> list[tuple[TableRow, int]]:
  """Returns (row, seed) of each run that is not done, all rows of a seed before the next seed."""
  return [
    (row, seed) for seed in seeds for row in rows if load_outcome(results, row, seed, text) is None
  ]


def run_all(
  rows: Sequence[TableRow],
  seeds: Sequence[int],
  *,
  workdir: Folder,
  results: Folder,
  data_root: str,
  text: Text,
  log: Callable[[str], None],
  after_each: Callable[[], None],
) -> dict[tuple[str, int], str]:
  """Trains and scores the missing runs. A run that fails is logged, and the others go on.

  Args:
    rows: the rows of the table.
    seeds: seeds of each row.
    workdir: folder of the runs' workdirs, ROW/seed-N; an interrupted run is resumed there.
    results: folder of the JSONs.
    data_root: folder that relative data paths start from.
    text: what the rows are scored on.
    log: called with a message about progress.
    after_each: called after each run; its errors are logged.

  Returns:
    (row's name, seed) -> why it failed.

  Raises:
    Interrupted: SIGTERM, SIGHUP or Ctrl-C. The current run is saved, and the same call resumes it.
  """
  failures: dict[tuple[str, int], str] = {}
  todo = missing_runs(rows, seeds, results, text)
  for number, (row, seed) in enumerate(todo, 1):
    log(f"run {number} of {len(todo)}: {row.name}, seed {seed}")
    folder = pathlib.Path(workdir) / row.name / f"seed-{seed}"
    try:
      outcome = _run(row, seed, folder, data_root, text.split)
      if moved := save_outcome(results, row, text, outcome):
        log(f"another run's result in the place of {row.name}, seed {seed}, is kept as {moved}")
    except (Interrupted, KeyboardInterrupt):
      raise
    except Exception as error:
      failures[row.name, seed] = f"{type(error).__name__}: {error}".splitlines()[0]
      log(f"{row.name}, seed {seed} failed: {failures[row.name, seed]}")
    jax.clear_caches()  # no other row uses these programs, which fill the memory
    try:
      after_each()
    except TransformerJaxError as error:
      log(f"no table yet: {error}")
  return failures


def _run(row: TableRow, seed: int, folder: pathlib.Path, data_root: str, split: str) -> Outcome:
  """Trains and scores a run; returns its Outcome."""
  _check_has_sentences(row.config.data, data_root, split)
  train(row.config.replace(seed=seed), folder, data_root)
  scores = evaluate(folder, split=split, overrides={}, data_root=data_root)
  stem = evaluation_stem(folder, split, scores["steps"])
  sentences = _read_sentences(f"{stem}.sentences.jsonl")
  task = build_task(row.config.data, load_tokenizer(folder / "tokenizer"))
  parameters = parameter_counts(row.config.model, task.source_vocab_size, task.target_vocab_size)
  seconds = training_seconds(Workdir(folder, primary=False).read_metrics())
  summary = dict(
    row=row.name,
    seed=seed,
    settings_sha256=settings_hash(row.config),
    parameters=sum(parameters.values()),
    split=split,
    sentences=len(sentences),
    steps=scores["steps"],
    perplexity=scores["perplexity"],
    score=task.main_score,
    bleu_name=scores.get("name"),
    **{name: scores[name] for name in _SCORES if name in scores},
    update_hours=seconds / 3600,
    hardware=hardware(),
    versions=versions(),
    git_revision=git_revision(),
  )
  statistics_SK = task.statistics(
    [Output(sentence["hypothesis"]) for sentence in sentences],
    [sentence["reference"] for sentence in sentences],
    split in split_list(row.config.data.preprocessed_splits),
  )
  log_probs = [sentence["log_prob"] for sentence in sentences]
  tokens = [sentence["tokens"] for sentence in sentences]
  outcome = Outcome(summary, statistics_SK, np.array(log_probs, float), np.array(tokens, int))
  _check_sums(outcome, stem)
  return outcome


def _read_sentences(path: str) -> list[dict[str, Any]]:
  """Returns the sentences of an evaluation."""
  lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")[:-1]
  return [json.loads(line) for line in lines]


def _check_has_sentences(data: DataConfig, data_root: str, split: str) -> None:
  """Checks, before the training begins, that there are sentences to score.

  Raises:
    ConfigError: the split is empty.
  """
  if next(iter(open_source(data, data_root).pairs(split)), None) is None:
    raise ConfigError(
      f"--split={split}",
      f"the row has no {split} data",
      "name it in the flag file, or leave --split out",
    )


def _check_sums(outcome: Outcome, stem: str) -> None:
  """Checks that the statistics give the score that the evaluation reported.

  Raises:
    DataError: they do not.
  """
  name = outcome.main_score
  score = outcome.score_from_sentences(name)
  reported = outcome.summary[name]
  if not np.isclose(score, reported, rtol=1e-6, atol=1e-6):
    raise DataError(f"{stem}.sentences.jsonl", f"gives {name} {score}, and {reported} was reported")
