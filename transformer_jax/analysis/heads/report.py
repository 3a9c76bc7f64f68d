"""`heads`: measures the heads of a run, prunes them in several orders, and writes the report."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from transformer_jax.analysis.heads import figures
from transformer_jax.analysis.heads.importance import (
  Head,
  HeadStudy,
  log_rise,
  rank_correlation,
  within_layer,
)
from transformer_jax.analysis.markdown import images, table, wrapped
from transformer_jax.config import DataConfig, split_list
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import DataError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.versions import git_revision, versions

_CURVE_POINTS = 10
# The orders of pruning by importance.
_NORMALIZED = "least important first"
_PLAIN = "least important first, not normalized"
_GREEDY = "least important first, measured again after each"

Log = Callable[[str], None]
Row = dict[str, Any]  # a head's figures


@dataclasses.dataclass(frozen=True)
class StudySettings:
  """The text that the heads are measured on, and the orders of pruning."""

  split: str = "valid"
  source: str = ""  # files instead of a split
  reference: str = ""
  sentences: int = 1000
  bleu_sentences: int = 200  # sentences of these that are translated, again for each head
  random_orders: int = 3  # orders that the pruning by importance is compared with
  plain_order: bool = False  # also by the importance that is not normalized
  greedy_order: bool = False  # also by importance that is measured again after each head


def report(
  workdir: str | pathlib.Path,
  output: str | os.PathLike[str],
  settings: StudySettings,
  *,
  overrides: Mapping[str, Any],
  data_root: str = ".",
  checkpoint: int | str = "last",
  log: Log = lambda message: None,
) -> list[str]:
  """Runs the study; writes heads.json, heads.md and figures to the folder `output`.

  Args:
    workdir: folder of the run.
    output: folder, created if missing.
    settings: what to measure.
    overrides: decoding settings that replace the run's.
    data_root: folder that relative data paths start from.
    checkpoint: "best", "last" or a step, as for `TrainedModel.load`.
    log: called with a message about progress.

  Returns:
    The lines of the page.

  Raises:
    DataError: the split or the files have no sentences.
    WorkdirError: the folder cannot be written to.
  """
  with as_workdir_error(output):  # an error should come before the study, not after it
    pathlib.Path(output).mkdir(parents=True, exist_ok=True)
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  pairs, is_preprocessed = _text(translator.config.data, settings, data_root)
  study = HeadStudy(translator, pairs, is_preprocessed, settings.bleu_sentences)
  result: dict[str, Any] = dict(
    run=pathlib.Path(workdir).resolve().name,
    steps=translator.steps,
    split="files" if settings.source else settings.split,
    sentences=len(pairs),
    bleu_sentences=min(settings.bleu_sentences, len(pairs)),
    score_name=translator.task.main_score,
    beam_size=translator.config.decode.beam_size,
    versions=versions(),
    git_revision=git_revision(),
  )
  result.update(_measured(study, log))
  result["pruning"] = _pruning(study, result["heads"], settings, log)
  atomic_write(f"{output}/heads.json", json_text(result, indent=1) + "\n")
  page = wrapped([*lines(result), "", *images(figures.draw(result, output))])
  atomic_write(f"{output}/heads.md", "\n".join(page) + "\n")
  return page


def _text(
  data: DataConfig, settings: StudySettings, data_root: str
) -> tuple[list[tuple[str, str]], bool]:
  """Returns (pairs of the files or of the split, whether they are preprocessed already)."""
  if settings.source:
    sources, references = read_parallel(settings.source, settings.reference)
    pairs = list(zip(sources, references, strict=True))[: settings.sentences]
    if not any(source.strip() and reference.strip() for source, reference in pairs):
      raise DataError(settings.source, "has no line with text on both sides")
    return pairs, False
  split = settings.split
  pairs = list(itertools.islice(open_source(data, data_root).pairs(split), settings.sentences))
  if not pairs:
    raise DataError(
      f"--split={split}",
      "has no sentences",
      f"the run had no {split} data: give --source and --reference",
    )
  return pairs, split in split_list(data.preprocessed_splits)


def _measured(study: HeadStudy, log: Log) -> dict[str, Any]:
  """Returns the figures of the whole model and of each head, and the agreement of two rankings.

  The rankings are by the gradient's importance and by the perplexity without the head.
  """
  log("the whole model")
  perplexity = study.perplexity(study.open)
  score = study.score(study.open)
  log("importance by gradient, and what heads look at")
  importance = study.importance()
  looks = study.looks()
  relative = within_layer(importance)
  rows = []
  for number, head in enumerate(study.heads, 1):
    log(f"head {number} of {len(study.heads)}: masked, and alone in its layer")
    masked = study.without([head])
    alone = study.alone(head)
    rows.append(
      dict(
        attention=head.attention,
        layer=head.layer,
        head=head.number,
        importance=importance[head],
        importance_in_layer=relative[head],
        **looks[head],
        masked_perplexity=study.perplexity(masked),
        masked_score=study.score(masked),
        alone_perplexity=study.perplexity(alone),
        alone_score=study.score(alone),
      )
    )
  rises = [log_rise(row["masked_perplexity"], perplexity) for row in rows]
  by_gradient = [row["importance"] for row in rows]
  by_gradient_in_layer = [row["importance_in_layer"] for row in rows]
  return dict(
    perplexity=perplexity,
    score=score,
    heads=rows,
    rank_correlation=rank_correlation(by_gradient, rises),
    rank_correlation_in_layer=rank_correlation(by_gradient_in_layer, rises),
  )


def _pruning(
  study: HeadStudy, rows: Sequence[Row], settings: StudySettings, log: Log
) -> dict[str, list[dict[str, Any]]]:
  """Returns perplexity and score with more and more heads closed.

  The least important heads are closed first; for comparison, heads in random orders.
  """
  shares = [point / _CURVE_POINTS for point in range(_CURVE_POINTS)]
  counts = sorted({round(len(rows) * share) for share in shares})
  orders = _pruning_orders(rows, settings)
  if settings.greedy_order:
    log("pruning: importance, measured again after each head")
    orders[_GREEDY] = study.greedy_order(counts[-1])
  curves = {}
  for name, order in orders.items():
    log(f"pruning: {name}")
    points = []
    for count in counts:
      gates = study.without(order[:count])
      perplexity = study.perplexity(gates)
      points.append(dict(closed=count, perplexity=perplexity, score=study.score(gates)))
    curves[name] = points
  return curves


def _pruning_orders(rows: Sequence[Row], settings: StudySettings) -> dict[str, list[Head]]:
  """Returns the orders in which heads are closed, by name, that need no further measuring."""
  heads = [Head(row["attention"], row["layer"], row["head"]) for row in rows]

  def least_first(figure: str) -> list[Head]:
    return [heads[index] for index in np.argsort([row[figure] for row in rows], kind="stable")]

  orders = {_NORMALIZED: least_first("importance_in_layer")}
  if settings.plain_order:
    orders[_PLAIN] = least_first("importance")
  for seed in range(settings.random_orders):
    permutation = np.random.default_rng(seed).permutation(len(heads))
    orders[f"random order {seed + 1}"] = [heads[index] for index in permutation]
  return orders


def lines(result: dict[str, Any]) -> list[str]:
  """Returns the lines of the page, without its figures."""
  score = result["score_name"].replace("_", " ")
  points = [
    [name, point["closed"], f"{point['perplexity']:.3f}", f"{point['score']:.2f}"]
    for name, curve in result["pruning"].items()
    for point in curve
  ]
  return [
    "## What each head is worth",
    "",
    _run_line(result, score),
    "",
    _ranking_line(result),
    "",
    *_head_table(result["heads"], score),
    "",
    "## Pruning",
    "",
    *table(["order", "heads closed", "perplexity", score], points),
  ]


def _run_line(result: dict[str, Any], score: str) -> str:
  """Returns a line with the run, the text, and the figures of the whole model."""
  steps = ", ".join(map(str, result["steps"]))
  run = f"{result['run']}, checkpoints {steps}, revision {result['git_revision']}"
  text = f"{result['sentences']} sentences of {result['split']}"
  search = f"the first {result['bleu_sentences']} with beam {result['beam_size']}"
  whole = f"perplexity {result['perplexity']:.3f}, {score} {result['score']:.2f}"
  return f"{run}; {text}, {score} of {search}. The whole model: {whole}."


def _ranking_line(result: dict[str, Any]) -> str:
  """Returns a line with the most and the least important head and the agreement of two rankings."""
  by_mask = sorted(result["heads"], key=lambda row: row["masked_perplexity"])
  least, most = by_mask[0], by_mask[-1]
  correlation = f"{result['rank_correlation']:.2f}"
  in_layer = f"{result['rank_correlation_in_layer']:.2f}"
  return (
    f"By mask the most important head is {_name(most)} (perplexity "
    f"{most['masked_perplexity']:.3f} without it), the least {_name(least)} "
    f"({least['masked_perplexity']:.3f}). Rank correlation of the gradient's importance with the "
    f"rise of the log-perplexity under the mask: {correlation} ({in_layer} with importances "
    "normalized in their layer)."
  )


def _head_table(rows: Sequence[Row], score: str) -> list[str]:
  """Returns a table with a row for each head."""
  header = [
    "head",
    "importance",
    "in its layer",
    "confidence",
    "entropy",
    "most frequent offset",
    "role",
    "perplexity without",
    f"{score} without",
    "perplexity, alone",
    f"{score}, alone",
  ]
  cells = [
    [
      _name(row),
      f"{row['importance']:.3f}",
      f"{row['importance_in_layer']:.2f}",
      f"{row['confidence']:.2f}",
      f"{row['entropy']:.2f}",
      f"{row['offset']:+d} ({row['offset_share']:.0%})",
      row["role"],
      f"{row['masked_perplexity']:.3f}",
      f"{row['masked_score']:.2f}",
      f"{row['alone_perplexity']:.3f}",
      f"{row['alone_score']:.2f}",
    ]
    for row in rows
  ]
  return table(header, cells)


def _name(row: Row) -> str:
  """Returns a head's name, counted from 1: "cross 2.4"."""
  return f"{row['attention']} {row['layer'] + 1}.{row['head'] + 1}"
