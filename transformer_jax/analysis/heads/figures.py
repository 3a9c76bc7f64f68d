"""The figures of `heads`."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from transformer_jax.analysis import plots
from transformer_jax.analysis.heads.importance import log_rise
from transformer_jax.model.head_gates import ATTENTIONS


def draw(result: dict[str, Any], folder: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Writes heat maps (layer x head, for each attention) and the pruning curves.

  Args:
    result: the content of heads.json.
    folder: where the figures are written.

  Returns:
    The paths of the figures.
  """
  rows = result["heads"]
  rise = lambda row: log_rise(row["masked_perplexity"], result["perplexity"])
  return [
    *_draw_maps(
      rows,
      lambda row: row["importance"],
      "importance by gradient, nats",
      f"{folder}/heads_importance",
    ),
    *_draw_maps(rows, rise, "rise of log-perplexity without the head", f"{folder}/heads_masked"),
    *_draw_maps(
      rows,
      lambda row: row["confidence"],
      "confidence: mean of the largest weight",
      f"{folder}/heads_confidence",
    ),
    *_draw_pruning(result, f"{folder}/heads_pruning"),
  ]


def _draw_maps(
  rows: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float], label: str, path: str
) -> list[pathlib.Path]:
  """Draws a value of all heads: a heat map for each attention."""
  num_layers = 1 + max(row["layer"] for row in rows)
  num_heads = 1 + max(row["head"] for row in rows)
  values = [value(row) for row in rows]
  figure, panels = plots.axes(width=3.6, height=3.2, columns=len(ATTENTIONS))
  images = []
  for panel, (attention, title) in zip(panels, ATTENTIONS.items(), strict=True):
    grid_NH = np.zeros((num_layers, num_heads))
    for row, number in zip(rows, values, strict=True):
      if row["attention"] == attention:
        grid_NH[row["layer"], row["head"]] = number
    images.append(plots.heat_map(panel, grid_NH, "viridis", min(0, *values), max(values)))
    panel.grid(visible=False)
    panel.set_title(title)
    panel.set_xticks(range(num_heads), _numbers(num_heads))
    panel.set_yticks(range(num_layers), _numbers(num_layers))
    panel.set_xlabel("head")
  panels[0].set_ylabel("layer")
  figure.colorbar(images[-1], ax=panels, label=label)
  return plots.save(figure, path)


def _numbers(count: int) -> list[str]:
  """Returns "1", "2", ... for ticks."""
  return [str(number + 1) for number in range(count)]


def _draw_pruning(result: dict[str, Any], path: str) -> list[pathlib.Path]:
  """Draws perplexity and score over the number of closed heads, a line for each order."""
  figure, panels = plots.axes(columns=2)
  labels = dict(perplexity="perplexity", score=result["score_name"].replace("_", " "))
  for panel, (key, label) in zip(panels, labels.items(), strict=True):
    colors = iter(plots.COLORS)
    for name, points in result["pruning"].items():
      is_random = name.startswith("random")
      panel.plot(
        [point["closed"] for point in points],
        [point[key] for point in points],
        marker="" if is_random else "o",
        color=plots.GRAY if is_random else next(colors),
        linewidth=1 if is_random else 2,
        label=name,
      )
    panel.set_xlabel("heads closed")
    panel.set_ylabel(label)
  panels[0].set_yscale("log")
  panels[1].legend(frameon=False, fontsize=8)
  return plots.save(figure, path)
