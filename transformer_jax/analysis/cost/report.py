"""The page of `cost` in Markdown, from the records of `heads` and `layers`."""

import pathlib
from collections.abc import Sequence
from typing import Any

from transformer_jax.analysis.cost.formulas import (
  attention_parameters,
  attention_products,
  attention_terms,
)
from transformer_jax.analysis.cost.heads import (
  FORWARD,
  FORWARD_BACKWARD,
  FULL,
  NARROW,
  VARIED_D_K,
  Case,
  ratios_to_one_head,
)
from transformer_jax.analysis.cost.layers import crossing
from transformer_jax.analysis.cost.settings import StudySettings
from transformer_jax.analysis.markdown import images, table

FLAT = 0.15  # a time within this factor of one head's counts as the same

Records = Sequence[dict[str, Any]]


def page(
  result: dict[str, Any],
  settings: StudySettings,
  reasons: dict[str, str],
  figures: Sequence[pathlib.Path],
) -> list[str]:
  """Returns the lines of the page.

  Args:
    result: the content of cost.json.
    settings: the settings of the study.
    reasons: kernels that were not measured -> why.
    figures: paths of the figures, beside the page.
  """
  records = result["records"]
  width = settings.d_model
  middle_length = settings.lengths[len(settings.lengths) // 2]
  sections = {
    f"What h heads cost, d_model = {width}": _where_lines(result["where"], settings, reasons),
    "Counted by formula": term_lines(_one_narrow_full(settings), width, middle_length),
    "Counted by XLA": xla_lines(records),
    "Measured: h heads of width d_model / h": time_lines(records, NARROW),
    "Is the measured time flat over h?": flatness_lines(records),
    f"Measured: h heads of the full width {width}": time_lines(records, FULL),
    "Measured: d_k at a fixed number of heads (Table 3, row B)": time_lines(records, VARIED_D_K),
    "Table 1": layer_lines(result["table_1"]),
    "Training cost": budget_lines(result["training"]),
    "Figures": images(figures),
  }
  lines = []
  for title, content in sections.items():
    lines += [f"## {title}", "", *content, ""]
  return lines


def _one_narrow_full(settings: StudySettings) -> list[Case]:
  """Returns one head, h narrow heads and h full heads; h is 8 if measured, else the largest."""
  d_model = settings.d_model
  h = 8 if 8 in settings.num_heads else max(settings.num_heads)
  return [
    Case(NARROW, 1, d_model, d_model),
    Case(NARROW, h, d_model // h, d_model // h),
    Case(FULL, h, d_model, d_model),
  ]


def _where_lines(
  where: dict[str, Any], settings: StudySettings, reasons: dict[str, str]
) -> list[str]:
  """Returns the machine, and the kernels that were not measured."""
  machine = f"{where['device']}, {where['processor']}, {where['cores']} cores, {where['dtype']}"
  version = f"jax {where['versions']['jax']}, revision {where['git_revision']}"
  return [
    f"{machine}, {version}. Batches of {settings.batch_tokens} positions; medians of interleaved "
    "rounds.",
    *(f"Kernel `{name}` was not measured: {reason}." for name, reason in reasons.items()),
  ]


def term_lines(cases: Sequence[Case], d_model: int, length: int) -> list[str]:
  """Returns the multiplications of a sentence term by term.

  Args:
    cases: one head, h narrow heads, h full heads.
    d_model: width of the sub-layer.
    length: n of the sentence.
  """
  models = [case.model(d_model, "reference") for case in cases]
  counted = [attention_terms(model, length, length) for model in models]
  rows = []
  for name, term in counted[0].items():
    counts = [_millions(terms[name].count) for terms in counted]
    rows.append([name, f"`{term.formula}`", *counts])
  products = [f"**{_millions(attention_products(terms))}**" for terms in counted]
  parameters = [_millions(attention_parameters(model)) for model in models]
  rows.append(["**all products**", "", *products])
  rows.append(["parameters", "`2 d h (d_k + d_v)`", *parameters])
  names = [f"h={case.num_heads}, d_k=d_v={case.d_k}" for case in cases]
  one, narrow = (_millions(terms["softmax"].count) for terms in counted[:2])
  return [
    "Millions of multiplications with an addition (of the softmax: exponentials) for a sentence of "
    f"n = {length}, d = {d_model}:",
    "",
    *table(["term", "formula", *names], rows),
    "",
    "h and d_k occur in the products only as h d_k, and h d_k = d for narrow heads, whatever h is. "
    f"Only the softmax keeps its h: {one} M exponentials for one head, {narrow} M for "
    f"{cases[1].num_heads}.",
  ]


def xla_lines(records: Records) -> list[str]:
  """Returns the formula's figures beside XLA's counts in the compiled functions, forward."""
  header = [
    "what",
    "kernel",
    "n",
    "column",
    "h",
    "d_k",
    "formula, MFLOP",
    "XLA, MFLOP",
    "XLA without softmax, to formula",
    "softmax, to formula",
  ]
  rows = [_xla_cells(record) for record in records if record["which"] == FORWARD]
  return [
    *table(header, rows),
    "",
    "MFLOP are of a whole batch. XLA counts the softmax's additions and divisions too, which the "
    "formula leaves out. `xla` and `cudnn` need d_k = d_v: where they differ, the narrower is "
    "padded with zeros, and XLA counts the wider. If there are more scores than `blocked` (which "
    "`auto` may choose) computes at once, it loops, and XLA counts a loop's body once. `cudnn` and "
    "`fused` are not made of XLA's operations: what it counts for them says nothing.",
  ]


def _xla_cells(record: dict[str, Any]) -> list[Any]:
  """Returns a row of that table."""
  formula = record["formula_flops"]
  counted = record["xla_flops"]
  softmax = record["xla_softmax_flops"]
  if counted is None:
    shown = ["not reported"] * 3
  else:
    without_softmax = (counted - softmax) / formula - 1
    shown = [_millions(counted), f"{without_softmax:+.2%}", f"{softmax / formula:.2%}"]
  names = ("subject", "kernel", "length", "column", "num_heads", "d_k")
  return [*(record[name] for name in names), _millions(formula), *shown]


def time_lines(records: Records, column: str) -> list[str]:
  """Returns the measured milliseconds and peak memory of a column."""
  names = ("subject", "kernel", "length", "num_heads", "d_k")
  by_pass: dict[tuple, dict[str, dict[str, Any]]] = {}
  for record in records:
    if record["column"] == column:
      key = tuple(record[name] for name in names)
      by_pass.setdefault(key, {})[record["which"]] = record
  rows = []
  for key, both in by_pass.items():
    forward = both[FORWARD]
    backward = both[FORWARD_BACKWARD]
    peak = backward["peak_bytes"]
    mebibytes = f"{peak / 2**20:,.0f}" if peak else "-"
    rows.append([*key, _milliseconds(forward), _milliseconds(backward), mebibytes])
  header = [
    "what",
    "kernel",
    "n",
    "h",
    "d_k",
    "forward, ms",
    "forward + backward, ms (fastest to slowest)",
    "peak memory, MiB",
  ]
  return table(header, rows)


def flatness_lines(records: Records) -> list[str]:
  """Returns the h and n from which h heads take longer than one, as a table and in words."""
  ratios = ratios_to_one_head(records)
  heads = sorted({h for by_heads in ratios.values() for h in by_heads})
  rows = []
  by_kernel: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
  for (subject, kernel, length), by_heads in ratios.items():
    cells = (f"{by_heads[h]:.2f}" if h in by_heads else "-" for h in heads)
    rows.append([subject, kernel, length, *cells])
    by_kernel.setdefault((subject, kernel), {})[length] = by_heads
  sentences = [
    f"- {subject}, kernel `{kernel}`: {_flatness(by_length, heads)}"
    for (subject, kernel), by_length in by_kernel.items()
  ]
  return [
    "Time of forward + backward, divided by that of one head:",
    "",
    *table(["what", "kernel", "n", *(f"h={h}" for h in heads)], rows),
    "",
    *sentences,
  ]


def _flatness(by_length: dict[int, dict[int, float]], heads: Sequence[int]) -> str:
  """Returns the sentence on a kernel.

  Args:
    by_length: n -> h -> time relative to one head's, for each h that the kernel can serve.
    heads: all h.
  """
  limit = 1 + FLAT
  parts = []
  for h in heads:
    slower = [n for n, by_heads in by_length.items() if by_heads.get(h, 0) > limit]
    if slower:
      longest = max(slower)
      ratio = f"{by_length[longest][h]:.2f}"
      parts.append(f"h={h} from n={min(slower)} (at n={longest} {ratio} times)")
  if not parts:
    return f"flat, every h within {limit:.2f} times one head's time."
  return f"not flat. More than {limit:.2f} times one head's time: {'; '.join(parts)}."


def layer_lines(records: Records) -> list[str]:
  """Returns Table 1: operations, sequential operations, longest path and measured time."""
  header = [
    "layer",
    "n",
    "operations, M",
    "sequential",
    "longest path",
    "forward, ms (fastest to slowest)",
  ]
  rows = [
    [
      record["layer"],
      record["length"],
      f"{record['operations'] / 1e6:,.1f}",
      f"{record['sequential_operations']:.0f}",
      f"{record['longest_path']:.1f}",
      _milliseconds(record),
    ]
    for record in records
  ]
  n = crossing(records)
  if n:
    measured = f"from n = {n} on self-attention is slower than the recurrence"
  else:
    measured = "self-attention is nowhere slower than the recurrence"
  return [
    *table(header, rows),
    "",
    f"By formula n^2 d exceeds n d^2 above n = d = {records[0]['d_model']}; attention computes its "
    f"n^2 d twice, so above half of that. Measured: {measured}. A recurrence also waits for each "
    "of its n steps, which no operation count shows.",
  ]


def budget_lines(budgets: Records) -> list[str]:
  """Returns the training costs, computed as in the paper and from the model's arithmetic."""
  header = [
    "training",
    "time x hardware's rate, FLOP",
    "the model's products, FLOP",
    "use (MFU)",
    "measured or assumed",
  ]
  rows = []
  for budget in budgets:
    hardware = budget["hardware_flops"]
    model = budget["model_flops"]
    shares = [f"{hardware:.2e}", f"{model:.2e}", f"{model / hardware:.0%}"]
    rows.append([budget["name"], *shares, budget["how"]])
  return table(header, rows)


def _millions(count: float) -> str:
  return f"{count / 1e6:,.2f}" if count >= 1e5 else f"{count / 1e6:.4f}"


def _milliseconds(record: dict[str, Any]) -> str:
  """Returns the median, fastest and slowest time."""
  low, median, high = (
    f"{record['seconds'][name] * 1e3:,.2f}" for name in ("low", "median", "high")
  )
  return f"{median} ({low} to {high})"
