"""`ablate`: trains every row of a table with several seeds, resumes what was interrupted, and keeps one small JSON a run.

A run whose JSON is there, made with the same settings, counts as done: a table grows over days and machines.
"""

import json
import pathlib

import jax
import numpy as np

from transformer_jax.analysis.ablation.results import (
  Outcome,
  TableRow,
  Text,
  load_outcome,
  result_path,
  save_outcome,
  settings_hash,
)
from transformer_jax.analysis.cost.formulas import parameter_counts, training_seconds
from transformer_jax.analysis.hardware import hardware
from transformer_jax.config import split_list
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import ConfigError, DataError, Interrupted, TransformerJaxError
from transformer_jax.runs.build import build_task
from transformer_jax.runs.evaluate import evaluate, evaluation_stem
from transformer_jax.runs.train import train
from transformer_jax.tasks.task import Output
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.versions import git_revision, versions

__all__ = [
  "Outcome",
  "TableRow",
  "Text",
  "load_outcome",
  "missing_runs",
  "result_path",
  "run_all",
  "settings_hash",
]

_SCORES = ("bleu", "exact_match", "signature", "f1", "complete_match", "repair_rate")  # if there


def missing_runs(rows, seeds, results, text=Text()):
  """(row, seed) of every run that is not done, all rows of a seed before the next seed."""
  return [
    (row, seed) for seed in seeds for row in rows if load_outcome(results, row, seed, text) is None
  ]


def run_all(rows, seeds, *, workdir, results, data_root, text, log, after_each):
  """Trains and scores what is missing; a row that fails is told and the rest go on.

  Args:
    rows: TableRows.
    seeds: list of seeds.
    workdir: folder whose ROW/seed-N are the runs' workdirs; a run that was interrupted goes on there.
    results: folder of the JSONs.
    data_root: folder that relative data paths start from.
    text: the Text that is scored.
    log: function that hears of progress.
    after_each: function () called after each run; what it cannot do is told.

  Returns:
    (row's name, seed) -> why it failed.

  Raises:
    Interrupted: SIGTERM, SIGHUP or Ctrl-C; the run under way is saved, and the same call goes on.
  """
  failures = {}
  todo = missing_runs(rows, seeds, results, text)
  for number, (row, seed) in enumerate(todo, 1):
    log(f"run {number} of {len(todo)}: {row.name}, seed {seed}")
    folder = pathlib.Path(workdir) / row.name / f"seed-{seed}"
    try:
      outcome = _run(row, seed, folder, data_root, text.split)
      if moved := save_outcome(results, row, text, outcome):
        log(f"what stood in the place of {row.name}, seed {seed}, is kept as {moved}")
    except (Interrupted, KeyboardInterrupt):
      raise
    except Exception as error:
      failures[row.name, seed] = f"{type(error).__name__}: {error}".splitlines()[0]
      log(f"{row.name}, seed {seed} failed: {failures[row.name, seed]}")
    jax.clear_caches()  # another row's programs are of no use, and dozens of rows fill the memory
    try:
      after_each()
    except TransformerJaxError as error:
      log(f"no table yet: {error}")
  return failures


def _run(row, seed, folder, data_root, split):
  """The Outcome of a run that is trained and scored here."""
  _check_has_sentences(row.config.data, data_root, split)
  train(row.config.replace(seed=seed), folder, data_root)
  scores = evaluate(folder, split=split, overrides={}, data_root=data_root)
  stem = evaluation_stem(folder, split, scores["steps"])
  sentences = [
    json.loads(line)
    for line in pathlib.Path(f"{stem}.sentences.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
  ]
  seconds = training_seconds(Workdir(folder, primary=False).read_metrics())
  task = build_task(row.config.data, load_tokenizer(folder / "tokenizer"))
  summary = dict(
    row=row.name,
    seed=seed,
    settings_sha256=settings_hash(row.config),
    parameters=sum(
      parameter_counts(row.config.model, task.source_vocab_size, task.target_vocab_size).values()
    ),
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
    [Output(s["hypothesis"]) for s in sentences],
    [s["reference"] for s in sentences],
    split in split_list(row.config.data.preprocessed_splits),
  )
  outcome = Outcome(
    summary,
    statistics_SK,
    np.array([s["log_prob"] for s in sentences], float),
    np.array([s["tokens"] for s in sentences], int),
  )
  _check_sums(outcome, stem)
  return outcome


def _check_has_sentences(data, data_root, split):
  """Raises ConfigError where there is nothing to score: known before the training, not after it."""
  if next(iter(open_source(data, data_root).pairs(split)), None) is None:
    raise ConfigError(
      f"--split={split}",
      f"the row has no {split} data",
      "name it in the flag file, or leave --split out",
    )


def _check_sums(outcome, stem):
  """Raises DataError where the statistics do not give the score that was reported."""
  name = outcome.main_score
  score = outcome.scores_of(name, np.ones(outcome.summary["sentences"]))
  if not np.isclose(score, outcome.summary[name], rtol=1e-6, atol=1e-6):
    raise DataError(
      f"{stem}.sentences.jsonl", f"gives {name} {score}, and {outcome.summary[name]} was reported"
    )
