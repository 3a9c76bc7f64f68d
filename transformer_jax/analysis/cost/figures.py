"""The figures of `cost`, from the records of `heads` and `layers`."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes

from transformer_jax.analysis import plots
from transformer_jax.analysis.cost.heads import (
  CORE,
  FORWARD_BACKWARD,
  FULL,
  NARROW,
  SUBLAYER,
  VARIED_D_K,
  ratios_to_one_head,
)

Records = Sequence[dict[str, Any]]
_TITLES = {
  SUBLAYER: "whole sub-layer, with its projections",
  CORE: "scores, softmax and weighted sum alone",
}
_DASHES = ("-", "--", ":")  # one for each kernel


def draw(
  records: Records, layer_records: Records, folder: str | os.PathLike[str], d_model: int
) -> list[pathlib.Path]:
  """Writes the figures; returns their paths."""
  return [
    *_draw_heads(records, folder, d_model),
    *_draw_columns(records, folder, d_model),
    *_draw_layers(layer_records, folder),
  ]


def _draw_heads(
  records: Records, folder: str | os.PathLike[str], d_model: int
) -> list[pathlib.Path]:
  """Draws the time of h heads relative to one: sub-layer left, attention right."""
  figure, panels = plots.axes(columns=2, height=4.2, sharey=True)
  ratios = ratios_to_one_head(records)
  kernels = list(dict.fromkeys(kernel for _, kernel, _ in ratios))
  lengths = sorted({length for _, _, length in ratios})
  heads = sorted({h for by_heads in ratios.values() for h in by_heads})
  for panel, subject in zip(panels, (SUBLAYER, CORE), strict=True):
    for (name, kernel, length), by_heads in ratios.items():
      if name == subject:
        panel.plot(
          list(by_heads),
          list(by_heads.values()),
          _DASHES[kernels.index(kernel) % len(_DASHES)],
          marker="o",
          markersize=4,
          color=plots.COLORS[lengths.index(length) % len(plots.COLORS)],
          label=f"{kernel}, n={length}",
        )
    panel.axhline(1, color=plots.BLACK, linewidth=1)
    plots.log_ticks(panel, heads)
    panel.set_xlabel(f"heads h, each of width {d_model} / h")
    panel.set_title(_TITLES[subject])
  panels[0].set_ylabel("time / time of one head")
  panels[0].legend(frameon=False, fontsize=8)
  panels[0].set_ylim(bottom=0)
  return plots.save(figure, f"{folder}/heads_time")


def _draw_columns(
  records: Records, folder: str | os.PathLike[str], d_model: int
) -> list[pathlib.Path]:
  """Draws one head | h narrow heads | h full heads at the longest length, counted and measured."""
  length = max(record["length"] for record in records)
  chosen = _of_the_sublayer(records, length)
  figure, panels = plots.axes(columns=2, height=4.2)
  measures = (
    (panels[0], "counted operations / one head's", lambda record: record["formula_flops"]),
    (panels[1], "measured time / one head's", _seconds),
  )
  heads = sorted({h for _, h in chosen})
  for panel, title, value in measures:
    _draw_column(panel, chosen, NARROW, value, plots.COLORS[0], f"h heads of width {d_model} / h")
    _draw_column(panel, chosen, FULL, value, plots.COLORS[1], f"h heads of width {d_model}")
    plots.log_ticks(panel, heads)
    plots.log_ticks(panel, heads, "y")
    panel.set_xlabel("heads h")
    panel.set_title(f"{title}, n={length}")
    panel.legend(frameon=False)
  return plots.save(figure, f"{folder}/narrow_and_full_heads")


def _seconds(record: dict[str, Any]) -> float:
  return record["seconds"]["median"]


def _of_the_sublayer(records: Records, length: int) -> dict[tuple[str, int], dict[str, Any]]:
  """Returns (column, h) -> record of forward and backward, by the kernel fastest with one head.

  That is the kernel `auto` takes, by which the full heads are measured: so both columns are divided
  by the same head.
  """
  found = [
    record
    for record in records
    if record["length"] == length
    and record["column"] != VARIED_D_K
    and record["subject"] == SUBLAYER
    and record["which"] == FORWARD_BACKWARD
  ]
  ones = [record for record in found if (record["column"], record["num_heads"]) == (NARROW, 1)]
  kernel = min(ones, key=_seconds)["kernel"]
  return {
    (record["column"], record["num_heads"]): record
    for record in found
    if record["column"] == FULL or record["kernel"] == kernel
  }


def _draw_column(
  panel: Axes,
  chosen: dict[tuple[str, int], dict[str, Any]],
  column: str,
  value: Callable[[dict[str, Any]], float],
  color: str,
  label: str,
) -> None:
  """Draws a column's values relative to one head's."""
  one = value(chosen[NARROW, 1])
  ratios = {
    h: value(record) / one for (name, h), record in chosen.items() if name == column or h == 1
  }
  heads = sorted(ratios)
  panel.plot(heads, [ratios[h] for h in heads], marker="o", color=color, label=label)


def _draw_layers(records: Records, folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Draws the measured time of Table 1's layers over n."""
  figure, (panel,) = plots.axes()
  for name in dict.fromkeys(record["layer"] for record in records):
    of_layer = [record for record in records if record["layer"] == name]
    lengths = [record["length"] for record in of_layer]
    milliseconds = [record["seconds"]["median"] * 1e3 for record in of_layer]
    panel.plot(lengths, milliseconds, marker="o", markersize=4, label=name)
  d_model = records[0]["d_model"]
  panel.axvline(d_model, color=plots.GRAY, linewidth=1, linestyle=":", label=f"n = d = {d_model}")
  panel.set_xscale("log", base=2)
  panel.set_yscale("log")
  panel.set_xlabel("length n")
  panel.set_ylabel("forward, milliseconds")
  panel.legend(frameon=False, fontsize=8)
  return plots.save(figure, f"{folder}/table_1_time")
