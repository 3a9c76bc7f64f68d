"""`cost`: counts and measures the cost of h heads, and explains why it is that of one head."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from transformer_jax.analysis.cost import figures, report
from transformer_jax.analysis.cost.formulas import (
  PAPER_FLOPS,
  paper_model_flops,
  paper_training_cost,
  training_seconds,
  update_flops,
)
from transformer_jax.analysis.cost.heads import can_run, cases, measure, serving_kernels
from transformer_jax.analysis.cost.layers import measure_table_1
from transformer_jax.analysis.cost.settings import StudySettings
from transformer_jax.analysis.markdown import wrapped
from transformer_jax.analysis.table3 import ROWS, Row
from transformer_jax.analysis.timing import matmul_flops_per_second
from transformer_jax.config import Config
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import ConfigError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.machine import hardware
from transformer_jax.runs.build import build_task
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.versions import git_revision, versions

_HOUR = 3600.0  # seconds
_DAY = 24 * _HOUR


def study(
  output: str | os.PathLike[str],
  settings: StudySettings,
  *,
  workdir: str | os.PathLike[str] | None = None,
  log: Callable[[str], None] = lambda message: None,
) -> list[str]:
  """Runs the whole study and writes cost.json, cost.md and figures to the folder `output`.

  Args:
    output: folder, created if missing.
    settings: what to count and measure.
    workdir: a run whose training cost is counted too.
    log: called with a message about progress.

  Returns:
    The lines of the page.

  Raises:
    ConfigError: a number of heads does not divide d_model, no kernel can run here, or none can
      serve one head.
  """
  settings.check()
  kernels, reasons = serving_kernels(settings.kernels, settings.dtype)
  if not kernels:
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise ConfigError("--kernels", why, "name others")
  width = settings.d_model
  if not any(can_run(name, settings.dtype, width, width) for name in kernels):
    raise ConfigError(
      "--kernels",
      f"{', '.join(kernels)}: one head of width {width}, which the others are compared with, "
      "cannot be served",
      "add reference",
    )
  with as_workdir_error(output):
    pathlib.Path(output).mkdir(parents=True, exist_ok=True)
  budgets = [paper_budget(ROWS[0], 12 * _HOUR), paper_budget(ROWS[-1], 3.5 * _DAY)]
  if workdir:  # first, so that a wrong run is refused before the long work
    log("the speed of a matrix product here")
    rate = matmul_flops_per_second(dtype=settings.dtype)
    budgets.append(run_budget(workdir, settings.sentence_length, rate))
  records = measure(
    settings.d_model,
    cases(settings.d_model, settings.num_heads, settings.d_k, settings.fixed_heads),
    settings.lengths,
    kernels,
    batch_tokens=settings.batch_tokens,
    rounds=settings.rounds,
    dtype=settings.dtype,
    log=log,
  )
  log("Table 1")
  layers = measure_table_1(settings.table_1_width, settings.table_1_lengths, rounds=settings.rounds)
  where = dict(hardware(), dtype=settings.dtype, versions=versions(), git_revision=git_revision())
  result = dict(where=where, records=records, table_1=layers, training=budgets)
  paths = figures.draw(records, layers, output, settings.d_model)
  page = wrapped(report.page(result, settings, reasons, paths))
  atomic_write(f"{output}/cost.md", "\n".join(page) + "\n")
  atomic_write(f"{output}/cost.json", json_text(result, indent=1) + "\n")
  return page


def paper_budget(row: Row, seconds: float) -> dict[str, Any]:
  """Returns the training cost of a model in the paper, on eight P100, and its arithmetic.

  The arithmetic is that of updates of 25,000 + 25,000 tokens.
  """
  rate = PAPER_FLOPS["P100"] / 1e12
  return dict(
    name=f"the paper's {row.name}",
    hardware_flops=paper_training_cost(seconds, 8),
    model_flops=paper_model_flops(row.config()),
    how=f"{seconds / _HOUR:.0f} hours x 8 P100 of {rate} TFLOP/s assumed",
  )


def run_budget(
  workdir: str | os.PathLike[str], sentence_length: int, flops_per_second: float
) -> dict[str, Any]:
  """Returns the training cost of a run, from its metrics, and its arithmetic.

  The cost is the time of its updates at the rate of a large matrix product on this machine.

  Raises:
    ConfigError: the run has no metrics of training.
  """
  folder = Workdir(workdir, primary=False)
  config = Config.from_flat(folder.read_config())
  vocab_size = build_task(config.data, load_tokenizer(folder.tokenizer)).target_vocab_size
  metrics = folder.read_metrics()
  lines = [line for line in metrics if line["split"] == "train"]
  if not lines:
    raise ConfigError(
      "--workdir", f"{workdir} has no line of training in its metrics", "train first"
    )
  seconds = training_seconds(metrics)
  needed = update_flops(
    config.model,
    vocab_size,
    source_tokens=sum(line["source_tokens"] for line in lines),
    target_tokens=sum(line["target_tokens"] for line in lines),
    source_length=sentence_length,
    target_length=sentence_length,
  )
  rate = f"{flops_per_second / 1e9:,.0f} GFLOP/s, a matrix product here"
  return dict(
    name=folder.path.resolve().name,
    hardware_flops=seconds * flops_per_second,
    model_flops=needed,
    how=f"{seconds / _HOUR:.2f} hours x {rate}",
  )
