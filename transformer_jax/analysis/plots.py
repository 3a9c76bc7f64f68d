"""Figures as PNG and PDF, all in one style."""

import os
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transformer_jax.files import as_workdir_error

COLORS = ("#3b6fb6", "#d1672e", "#3f8f5b", "#8a5aa8", "#a8483f", "#6b7280", "#c2a13a")
GRAY = COLORS[5]
BLACK = "#111827"


def axes(
  width: float = 6.0, height: float = 4.0, columns: int = 1, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
  """Returns (figure, its axes from left to right); each is `width` x `height` inches."""
  figure, grid = pyplot.subplots(
    1, columns, figsize=(width * columns, height), squeeze=False, layout="constrained", **kwargs
  )
  for one in grid[0]:
    one.spines[["top", "right"]].set_visible(False)
    one.grid(color="#e5e7eb", linewidth=0.8)
    one.set_axisbelow(True)
    one.set_prop_cycle(color=COLORS)
  return figure, list(grid[0])


def grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
  """Returns (figure, rows of axes) for small pictures of `width` x `height` inches."""
  figure, panels = pyplot.subplots(
    rows,
    columns,
    figsize=(width * columns, height * rows + 0.3),
    squeeze=False,
    layout="constrained",
  )
  return figure, panels.tolist()


def heat_map(panel: Axes, values: Any, colors: str, low: float, high: float) -> Any:
  """Draws a matrix as colored cells; returns the image, for a color bar."""
  return panel.imshow(
    values, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
  )


def log_ticks(panel: Axes, values: list[int], axis: str = "x") -> None:
  """Gives the axis "x" or "y" a scale of base 2, with ticks at these values only, written out."""
  labels = [str(value) for value in values]
  if axis == "x":
    panel.set_xscale("log", base=2)
    panel.set_xticks(values, labels)
  else:
    panel.set_yscale("log", base=2)
    panel.set_yticks(values, labels)


def plain(text: str) -> str:
  """Escapes dollar signs, which would begin a formula. Missing glyphs stay placeholders."""
  return text.replace("$", r"\$")


def save(figure: Figure, path: str | os.PathLike[str]) -> list[pathlib.Path]:
  """Writes `path`.png and `path`.pdf and closes the figure; returns the two paths.

  Raises:
    WorkdirError: they cannot be written.
  """
  stem = pathlib.Path(path)
  paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf")]
  try:
    for target in paths:
      with as_workdir_error(target):
        figure.savefig(target, dpi=150)
  finally:
    pyplot.close(figure)
  return paths
