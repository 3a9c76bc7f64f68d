"""`cost`: counts, measures, and writes the answer to why h heads cost what one costs."""

import pathlib

from transformer_jax.analysis.cost import formulas as cost
from transformer_jax.analysis.cost import report as cost_report
from transformer_jax.analysis.cost.heads import (
  FULL,
  NARROW,
  VARIED_D_K,
  Case,
  cases,
  measure,
  serving_kernels,
)
from transformer_jax.analysis.cost.layers import measure_table_1
from transformer_jax.analysis.hardware import hardware
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.analysis.timing import matmul_flops_per_second
from transformer_jax.config import Config
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import ConfigError
from transformer_jax.files import atomic_write
from transformer_jax.runs.build import build_task
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.versions import git_revision, versions


def study(
  output,
  *,
  d_model,
  num_heads,
  d_k,
  fixed_heads,
  lengths,
  kernels,
  batch_tokens,
  rounds,
  dtype,
  table_1_width,
  table_1_lengths,
  workdir=None,
  sentence_length=28,
  log=lambda message: None,
):
  """Runs the whole study and writes cost.json, cost.md and figures to the folder `output`.

  Args:
    output: folder, made if missing.
    d_model, num_heads, d_k, fixed_heads, lengths, kernels, batch_tokens, rounds, dtype: see `head_cost.measure` and `cases`.
    table_1_width, table_1_lengths: d and the lengths n that Table 1's layers are measured with.
    workdir: a run whose training cost is counted too.
    sentence_length: mean length that the share of attention in a training's operations is counted with.
    log: function that hears of progress.

  Returns:
    The page, a list of lines.

  Raises:
    ConfigError: a choice of heads that does not divide d_model, or a kernel that cannot run here.
  """
  for h in (*num_heads, fixed_heads):
    if d_model % h:
      raise ConfigError(
        "--num_heads", f"{h} heads do not divide --d_model={d_model}", "choose divisors"
      )
  if 1 not in num_heads:
    raise ConfigError(
      "--num_heads", "does not name 1, which the others are compared with", "add it"
    )
  kernels, reasons = serving_kernels(kernels, dtype)
  if not kernels:
    raise ConfigError(
      "--kernels", "; ".join(f"{name}: {reason}" for name, reason in reasons.items()), "name others"
    )
  pathlib.Path(output).mkdir(parents=True, exist_ok=True)
  all_cases = cases(d_model, num_heads, d_k, fixed_heads)
  records = measure(
    d_model,
    all_cases,
    lengths,
    kernels,
    batch_tokens=batch_tokens,
    rounds=rounds,
    dtype=dtype,
    log=log,
  )
  log("Table 1")
  layers = measure_table_1(table_1_width, table_1_lengths, rounds=rounds)
  budgets = [paper_budget(ROWS[0], 12 * 3600), paper_budget(ROWS[-1], 3.5 * 86_400)]
  if workdir:
    log("the speed of a matrix product here")
    budgets.append(run_budget(workdir, sentence_length, matmul_flops_per_second(dtype=dtype)))
  where = _where(dtype)
  figures = cost_report.draw(records, layers, output, d_model)
  page = _page(
    where, records, layers, budgets, reasons, d_model, num_heads, lengths, batch_tokens, figures
  )
  atomic_write(f"{output}/cost.md", "\n".join(page) + "\n")
  atomic_write(
    f"{output}/cost.json",
    json_text(dict(where=where, records=records, table_1=layers, training=budgets), indent=1)
    + "\n",
  )
  return page


def paper_budget(row, seconds):
  """What the paper says that a model of Table 3 took on eight P100, and what its updates of 25,000 + 25,000 tokens compute."""
  return dict(
    name=f"the paper's {row.name}",
    hardware_flops=cost.paper_training_cost(seconds, 8),
    model_flops=cost.paper_model_flops(row.config()),
    how=f"{seconds / 3600:.0f} hours x 8 P100 of {cost.PAPER_FLOPS['P100'] / 1e12} TFLOP/s assumed",
  )


def run_budget(workdir, sentence_length, flops_per_second):
  """The same of a run, from its metrics: the time of its updates, at the rate of a large matrix product on this machine."""
  folder = Workdir(workdir, primary=False)
  config = Config.from_flat(folder.read_config())
  vocab_size = build_task(config.data, load_tokenizer(folder.tokenizer)).target_vocab_size
  metrics = folder.read_metrics()
  lines = [line for line in metrics if line["split"] == "train"]
  if not lines:
    raise ConfigError(
      "--workdir", f"{workdir} has no line of training in its metrics", "train first"
    )
  source, target = (sum(line[f"{side}_tokens"] for line in lines) for side in ("source", "target"))
  seconds = cost.training_seconds(metrics)
  needed = cost.update_flops(
    config.model, vocab_size, source, target, sentence_length, sentence_length
  )
  return dict(
    name=folder.path.name,
    hardware_flops=seconds * flops_per_second,
    model_flops=needed,
    how=f"{seconds / 3600:.2f} hours x {flops_per_second / 1e9:,.0f} GFLOP/s, a matrix product here",
  )


def _where(dtype):
  """On what this was measured."""
  return dict(hardware(), dtype=dtype, versions=versions(), git_revision=git_revision())


def _page(
  where, records, layers, budgets, reasons, d_model, num_heads, lengths, batch_tokens, figures
):
  h = 8 if 8 in num_heads else max(num_heads)
  three = [
    Case(NARROW, 1, d_model, d_model),
    Case(NARROW, h, d_model // h, d_model // h),
    Case(FULL, h, d_model, d_model),
  ]
  report = cost_report
  sections = [
    (
      f"What h heads cost, d_model = {d_model}",
      [
        f"{where['device']}, {where['processor']}, {where['cores']} cores, {where['dtype']}, jax {where['versions']['jax']}, "
        f"revision {where['git_revision']}. Batches of {batch_tokens} positions; medians of interleaved rounds.",
        *(f"Kernel `{name}` was not measured: {reason}." for name, reason in reasons.items()),
      ],
    ),
    ("Counted by formula", report.term_lines(three, d_model, lengths[len(lengths) // 2])),
    ("Counted by XLA", report.xla_lines(records)),
    ("Measured: h heads of width d_model / h", report.time_lines(records, NARROW)),
    ("Is the measured time flat over h?", report.flatness_lines(records)),
    (f"Measured: h heads of the full width {d_model}", report.time_lines(records, FULL)),
    (
      "Measured: d_k at a fixed number of heads (Table 3, row B)",
      report.time_lines(records, VARIED_D_K),
    ),
    ("Table 1", report.layer_lines(layers)),
    ("Training cost", report.budget_lines(budgets)),
    ("Figures", [f"![{path.stem}]({path.name})" for path in figures if path.suffix == ".png"]),
  ]
  return [line for title, lines in sections for line in (f"## {title}", "", *lines, "")]
