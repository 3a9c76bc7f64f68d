"""The table of an ablation as data: the paper's figures beside ours, with spread and p-values."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transformer_jax.analysis.ablation.identity import UNKNOWN_TEXT, Text
from transformer_jax.analysis.ablation.outcome import Outcome, TableRow
from transformer_jax.analysis.ablation.results import load_outcome, why_not_taken
from transformer_jax.analysis.ablation.significance import (
  bootstrap_p,
  has_same_sign,
  is_beyond_seed_noise,
  seed_p,
  why_no_bootstrap,
)
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.config import DataConfig
from transformer_jax.runs.build import build_task

_PAPER = {row.file: row for row in ROWS}


def entries(
  rows: Sequence[TableRow],
  seeds: Sequence[int],
  results: str | os.PathLike[str],
  failures: Mapping[tuple[str, int], str],
  text: Text = UNKNOWN_TEXT,
) -> list[dict[str, Any]]:
  """Returns a dict for each row: the paper's figures, and ours over the finished seeds.

  Differences are between the means over seeds of a row and of base. Each has the p-value of a
  paired bootstrap over sentences (Koehn 2004). A difference is beyond the noise of seeds if Welch's
  t test over seeds says so at 5%.

  Args:
    rows: the rows, base first.
    seeds: seeds of each row.
    results: folder of the JSONs.
    failures: (row's name, seed) -> why the run failed.
    text: what the rows are scored on.

  Raises:
    DataError: a JSON is not the result of a run.
  """
  base_row = rows[0]
  base = _outcomes(base_row, seeds, results, text)
  score = _main_score(base_row.config.data)
  found = []
  for row in rows:
    ours = _outcomes(row, seeds, results, text)
    entry = _entry(row, base_row, ours, base, score)
    entry["failed"] = {}
    entry["not_taken"] = {}
    done = [outcome.summary["seed"] for outcome in ours]
    for seed in seeds:
      if why := failures.get((row.name, seed)):
        entry["failed"][seed] = why
      if seed not in done and (why := why_not_taken(results, row, seed, text)):
        entry["not_taken"][seed] = why
    found.append(entry)
  return found


def _outcomes(
  row: TableRow, seeds: Sequence[int], results: str | os.PathLike[str], text: Text
) -> list[Outcome]:
  """Returns the outcomes of a row's finished runs."""
  outcomes = [load_outcome(results, row, seed, text) for seed in seeds]
  return [outcome for outcome in outcomes if outcome is not None]


def _main_score(data: DataConfig) -> str:
  return build_task(data, None).main_score


def _entry(
  row: TableRow,
  base_row: TableRow,
  ours: Sequence[Outcome],
  base: Sequence[Outcome],
  score: str,
) -> dict[str, Any]:
  """Returns a row of the table."""
  paper = _PAPER.get(row.name)
  kept = ("seed", "perplexity", score, "git_revision", "hardware")
  summaries = [outcome.summary for outcome in ours]
  entry: dict[str, Any] = dict(
    row=row.name,
    name=paper.name if paper else row.name,
    differences=row.differences(base_row),
    seeds=len(ours),
    score=score,
    parameters=summaries[0]["parameters"] if summaries else None,
    update_hours=sum(summary["update_hours"] for summary in summaries),
    runs=[{name: summary.get(name) for name in kept} for summary in summaries],
    of_unknown_text=[summary["seed"] for summary in summaries if not summary.get("text")],
    paper=_papers_figures(row.name),
  )
  for name in ("perplexity", score):
    entry[name] = _mean_and_sd(_values(ours, name))
    difference = None
    if row is not base_row:
      difference = _difference(ours, base, name)
    if difference and (papers := _papers_difference(row.name, name)) is not None:
      difference["sign_agrees"] = has_same_sign(difference["value"], papers)
    entry[f"{name}_difference"] = difference
  return entry


def _papers_figures(row_name: str) -> dict[str, Any] | None:
  """Returns the paper's figures of a row; None if the paper does not have it."""
  if row_name not in _PAPER:
    return None
  paper = _PAPER[row_name]
  return dict(
    perplexity=paper.perplexity, bleu=paper.bleu, parameters_millions=paper.parameters_millions
  )


def _papers_difference(row_name: str, score: str) -> float | None:
  """Returns the paper's difference to base; None if the paper does not have it."""
  ours = _papers_figures(row_name)
  base = _papers_figures("base")
  if ours is None or base is None or score not in ("perplexity", "bleu"):
    return None
  return ours[score] - base[score]


def _values(outcomes: Sequence[Outcome], name: str) -> list[float]:
  """Returns a score of each seed; NaN if it is not finite."""
  values = [outcome.summary.get(name) for outcome in outcomes]
  return [math.nan if value is None else value for value in values]


def _mean_and_sd(values: Sequence[float]) -> dict[str, float | None]:
  """Returns mean and sample standard deviation.

  They are None if there are too few values, or some are not finite.
  """
  mean = float(np.mean(values)) if values else math.nan
  sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
  return dict(mean=_finite_or_none(mean), sd=_finite_or_none(sd))


def _finite_or_none(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _difference(
  ours: Sequence[Outcome], base: Sequence[Outcome], name: str
) -> dict[str, Any] | None:
  """Returns how a row differs from base in a score; None if either has no mean."""
  values = _values(ours, name)
  base_values = _values(base, name)
  mean = _mean_and_sd(values)["mean"]
  base_mean = _mean_and_sd(base_values)["mean"]
  if mean is None or base_mean is None:
    return None
  why_no_p = why_no_bootstrap(ours, base, name)
  return dict(
    value=mean - base_mean,
    p=None if why_no_p else bootstrap_p(ours, base, name),
    why_no_p=why_no_p,
    seed_p=seed_p(values, base_values),
    beyond_seed_noise=is_beyond_seed_noise(values, base_values),
    sign_agrees=None,
  )
