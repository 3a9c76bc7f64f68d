"""Figures, as PNG and PDF: one look for all of them."""

import pathlib

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from transformer_jax.files import as_workdir_error

COLOURS = ("#3b6fb6", "#d1672e", "#3f8f5b", "#8a5aa8", "#a8483f", "#6b7280", "#c2a13a")


def axes(width=6.0, height=4.0, columns=1, **kwargs):
  """(figure, list of axes) in the project's look."""
  figure, grid = pyplot.subplots(
    1, columns, figsize=(width * columns, height), squeeze=False, layout="constrained", **kwargs
  )
  for one in grid[0]:
    one.spines[["top", "right"]].set_visible(False)
    one.grid(color="#e5e7eb", linewidth=0.8)
    one.set_axisbelow(True)
    one.set_prop_cycle(color=COLOURS)
  return figure, list(grid[0])


def grid(rows, columns, width, height):
  """(figure, rows of axes) for small pictures."""
  figure, panels = pyplot.subplots(
    rows,
    columns,
    figsize=(width * columns, height * rows + 0.3),
    squeeze=False,
    layout="constrained",
  )
  return figure, panels.tolist()


def plain(text):
  """Text as it stands: a dollar sign begins no formula, and what the font lacks is left to its placeholder."""
  return text.replace("$", r"\$")


def save(figure, path):
  """Writes `path`.png and `path`.pdf and closes the figure; returns the two paths.

  Raises:
    WorkdirError: they cannot be written.
  """
  path = pathlib.Path(path)
  paths = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "pdf")]
  try:
    for target in paths:
      with as_workdir_error(target):
        figure.savefig(target, dpi=150)
  finally:
    pyplot.close(figure)
  return paths
