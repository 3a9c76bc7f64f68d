"""The answer of `cost` as a page of Markdown and figures, from the records of `head_cost` and `layer_cost`."""

from transformer_jax.analysis import plots
from transformer_jax.analysis.cost.formulas import attention_parameters, attention_terms
from transformer_jax.analysis.cost.heads import (
  CORE,
  FULL,
  NARROW,
  PASSES,
  SUBLAYER,
  VARIED_D_K,
  ratios_to_one_head,
)
from transformer_jax.analysis.cost.layers import crossing
from transformer_jax.analysis.markdown import table

FLAT = 0.15  # times within this of one head's count as the same


def term_lines(cases, d_model, length):
  """Multiply-adds of a sentence of n tokens term by term: one head | h narrow heads | h full heads."""
  models = [case.model(d_model, "reference") for case in cases]
  counted = [attention_terms(model, length, length) for model in models]
  rows = [
    [term, f"`{formula}`", *(_millions(terms[term][1]) for terms in counted)]
    for term, (formula, _) in counted[0].items()
  ]
  totals = [
    sum(count for term, (_, count) in terms.items() if term != "softmax") for terms in counted
  ]
  rows += [
    ["**all products**", "", *(f"**{_millions(total)}**" for total in totals)],
    [
      "parameters",
      "`2 d h (d_k + d_v)`",
      *(_millions(attention_parameters(model)) for model in models),
    ],
  ]
  names = [f"h={case.num_heads}, d_k=d_v={case.d_k}" for case in cases]
  return [
    f"Millions of multiplications with an addition (of the softmax: exponentials) for a sentence of n = {length}, d = {d_model}:",
    "",
    *table(["term", "formula", *names], rows),
    "",
    "h and d_k stand in the products only as h d_k, and h d_k = d for narrow heads, whatever h is. The softmax alone keeps its h: "
    f"{_millions(counted[0]['softmax'][1])} M exponentials for one head, {_millions(counted[1]['softmax'][1])} M for {cases[1].num_heads}.",
  ]


def xla_lines(records):
  """The formula beside what XLA counts in the compiled sub-layer and attention, forward."""
  rows = []
  for record in records:
    if record["which"] == "forward":
      counted, softmax, formula = (
        record["xla_flops"],
        record["xla_softmax_flops"],
        record["formula_flops"],
      )
      shown = (
        ["not reported"] * 3
        if counted is None
        else [
          _millions(counted),
          f"{(counted - softmax) / formula - 1:+.2%}",
          f"{softmax / formula:.2%}",
        ]
      )
      rows.append(
        [
          record["subject"],
          record["kernel"],
          record["length"],
          record["column"],
          record["num_heads"],
          record["d_k"],
          _millions(formula),
          *shown,
        ]
      )
  return [
    *table(
      [
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
      ],
      rows,
    ),
    "",
    "MFLOP are of a whole batch. XLA counts the softmax's additions and divisions too, which the formula leaves out. `xla` and "
    "`cudnn` want d_k = d_v: where they differ the narrower is filled up with zeros, and XLA counts the wider. Where there are more "
    "scores than `blocked` (which `auto` may take) computes at once, it loops, and XLA counts a loop's body once.",
  ]


def time_lines(records, column):
  """Measured milliseconds and peak memory of a column."""
  found = {}
  for record in records:
    if record["column"] == column:
      key = tuple(record[name] for name in ("subject", "kernel", "length", "num_heads", "d_k"))
      found.setdefault(key, {})[record["which"]] = record
  rows = []
  for (subject, kernel, length, num_heads, d_k), both in found.items():
    forward, backward = (both[which] for which in PASSES)
    rows.append(
      [
        subject,
        kernel,
        length,
        num_heads,
        d_k,
        _milliseconds(forward),
        _milliseconds(backward),
        f"{backward['peak_bytes'] / 2**20:,.0f}" if backward["peak_bytes"] else "-",
      ]
    )
  return table(
    [
      "what",
      "kernel",
      "n",
      "h",
      "d_k",
      "forward, ms",
      "forward + backward, ms (fastest to slowest)",
      "peak memory, MiB",
    ],
    rows,
  )


def flatness_lines(records):
  """In words and numbers: up to which h, and from which n, the measured time is not one head's."""
  rows, sentences = [], []
  ratios = ratios_to_one_head(records)
  heads = sorted({h for by_heads in ratios.values() for h in by_heads})
  for (subject, kernel, length), by_heads in ratios.items():
    rows.append([subject, kernel, length, *(f"{by_heads[h]:.2f}" for h in heads)])
  for subject, kernel in dict.fromkeys(key[:2] for key in ratios):
    by_length = {
      key[2]: by_heads for key, by_heads in ratios.items() if key[:2] == (subject, kernel)
    }
    off = [(h, [n for n in by_length if by_length[n][h] > 1 + FLAT]) for h in heads]
    off = [(h, lengths) for h, lengths in off if lengths]
    if off:
      parts = "; ".join(
        f"h={h} from n={min(lengths)} (at n={max(lengths)} {by_length[max(lengths)][h]:.2f} times)"
        for h, lengths in off
      )
      sentences.append(
        f"- {subject}, kernel `{kernel}`: not flat. More than {1 + FLAT:.2f} times one head's time: {parts}."
      )
    else:
      sentences.append(
        f"- {subject}, kernel `{kernel}`: flat, every h within {1 + FLAT:.2f} times one head's time."
      )
  return [
    "Time of forward + backward, divided by that of one head:",
    "",
    *table(["what", "kernel", "n", *(f"h={h}" for h in heads)], rows),
    "",
    *sentences,
  ]


def layer_lines(records):
  """Table 1: operations, sequential operations, longest path by formula, and measured time."""
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
  d_model, n = records[0]["d_model"], crossing(records)
  where = (
    f"from n = {n} on self-attention is slower than the recurrence"
    if n
    else "self-attention is nowhere slower than the recurrence"
  )
  return [
    *table(
      [
        "layer",
        "n",
        "operations, M",
        "sequential",
        "longest path",
        "forward, ms (fastest to slowest)",
      ],
      rows,
    ),
    "",
    f"By formula n^2 d passes n d^2 at n = d = {d_model}; attention does its n^2 d twice, so at half of that. Measured: {where}. "
    "A recurrence also waits for each of its n steps, which no operation count shows.",
  ]


def budget_lines(budgets):
  """Training cost: the paper's way, and by the arithmetic of the model."""
  rows = [
    [
      b["name"],
      f"{b['hardware_flops']:.2e}",
      f"{b['model_flops']:.2e}",
      f"{b['model_flops'] / b['hardware_flops']:.0%}",
      b["how"],
    ]
    for b in budgets
  ]
  return table(
    [
      "training",
      "time x hardware's rate, FLOP",
      "the model's products, FLOP",
      "use (MFU)",
      "measured or assumed",
    ],
    rows,
  )


def draw(records, layer_records, folder, d_model):
  """Writes the figures; returns their paths."""
  return [
    *_draw_heads(records, folder, d_model),
    *_draw_columns(records, folder, d_model),
    *_draw_layers(layer_records, folder),
  ]


def _draw_heads(records, folder, d_model):
  """Time over h relative to one head: a panel for the sub-layer, one for attention alone."""
  figure, panels = plots.axes(columns=2, height=4.2, sharey=True)
  ratios = ratios_to_one_head(records)
  kernels = list(dict.fromkeys(key[1] for key in ratios))
  for panel, subject in zip(panels, (SUBLAYER, CORE), strict=True):
    for (name, kernel, length), by_heads in ratios.items():
      if name == subject:
        style = ("-", "--", ":")[kernels.index(kernel) % 3]
        colour = plots.COLOURS[
          sorted({key[2] for key in ratios}).index(length) % len(plots.COLOURS)
        ]
        panel.plot(
          list(by_heads),
          list(by_heads.values()),
          style,
          marker="o",
          markersize=4,
          color=colour,
          label=f"{kernel}, n={length}",
        )
    heads = sorted({h for by_heads in ratios.values() for h in by_heads})
    panel.axhline(1, color="#111827", linewidth=1)
    panel.set_xscale("log", base=2)
    panel.set_xticks(heads, [str(h) for h in heads])
    panel.set_xlabel(f"heads h, each of width {d_model} / h")
    panel.set_title(
      "whole sub-layer, with its projections"
      if subject == SUBLAYER
      else "scores, softmax and weighted sum alone"
    )
  panels[0].set_ylabel("time / time of one head")
  panels[0].legend(frameon=False, fontsize=8)
  panels[0].set_ylim(bottom=0)
  return plots.save(figure, f"{folder}/heads_time")


def _draw_columns(records, folder, d_model):
  """One head | h narrow heads | h full heads, counted and measured, at the longest length."""
  length = max(record["length"] for record in records)
  chosen = {}
  for record in records:
    if (
      record["length"] == length
      and record["subject"] == SUBLAYER
      and record["which"] == PASSES[1]
      and record["column"] != VARIED_D_K
    ):
      chosen.setdefault((record["column"], record["num_heads"]), record)
  figure, panels = plots.axes(columns=2, height=4.2)
  one = chosen[NARROW, 1]
  measures = (
    (panels[0], "counted operations / one head's", lambda r: r["formula_flops"]),
    (panels[1], "measured time / one head's", lambda r: r["seconds"]["median"]),
  )
  for panel, title, value in measures:
    for column, colour in ((NARROW, plots.COLOURS[0]), (FULL, plots.COLOURS[1])):
      points = sorted(
        (h, value(r) / value(one)) for (c, h), r in chosen.items() if c == column or h == 1
      )
      label = (
        f"h heads of width {d_model} / h" if column == NARROW else f"h heads of width {d_model}"
      )
      panel.plot(*zip(*points, strict=True), marker="o", color=colour, label=label)
    heads = sorted({h for _, h in chosen})
    for axis, set_ticks in (
      (panel.set_xscale, panel.set_xticks),
      (panel.set_yscale, panel.set_yticks),
    ):
      axis("log", base=2)
      set_ticks(heads, [str(h) for h in heads])
    panel.set_xlabel("heads h")
    panel.set_title(f"{title}, n={length}")
    panel.legend(frameon=False)
  return plots.save(figure, f"{folder}/narrow_and_full_heads")


def _draw_layers(records, folder):
  """Table 1's layers: measured time over n."""
  figure, (panel,) = plots.axes()
  for name in dict.fromkeys(record["layer"] for record in records):
    points = [
      (record["length"], record["seconds"]["median"] * 1e3)
      for record in records
      if record["layer"] == name
    ]
    panel.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
  panel.axvline(
    records[0]["d_model"],
    color="#6b7280",
    linewidth=1,
    linestyle=":",
    label=f"n = d = {records[0]['d_model']}",
  )
  panel.set_xscale("log", base=2)
  panel.set_yscale("log")
  panel.set_xlabel("length n")
  panel.set_ylabel("forward, milliseconds")
  panel.legend(frameon=False, fontsize=8)
  return plots.save(figure, f"{folder}/table_1_time")


def _millions(count):
  return f"{count / 1e6:,.2f}" if count >= 1e5 else f"{count / 1e6:.4f}"


def _milliseconds(record):
  seconds = record["seconds"]
  return (
    f"{seconds['median'] * 1e3:,.2f} ({seconds['low'] * 1e3:,.2f} to {seconds['high'] * 1e3:,.2f})"
  )
