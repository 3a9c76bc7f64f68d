"""Figures as PNG and PDF, all in one style."""

import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import font_manager, pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transformer_jax.files import as_workdir_error

COLORS = ("#3b6fb6", "#d1672e", "#3f8f5b", "#8a5aa8", "#a8483f", "#6b7280", "#c2a13a")
GRAY = COLORS[5]
# Of heads: told apart with every kind of color vision, contrast of 3 to 1; the page has the same.
HEAD_COLORS = (
  "#0f0fff",
  "#e15a0f",
  "#3c9669",
  "#d24bf0",
  "#780000",
  "#785a87",
  "#1e005a",
  "#3c001e",
)
BLACK = "#111827"


def axes(
  width: float = 6.0, height: float = 4.0, columns: int = 1, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
  """Returns (figure, its axes from left to right); each is `width` x `height` inches."""
  _use_installed_fonts()
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
  _use_installed_fonts()
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
  """Escapes dollar signs, which would begin a formula."""
  return text.replace("$", r"\$")


# Fonts with Chinese, Japanese and Korean: the first installed one writes what the default lacks.
_CJK = re.compile(
  r"\bCJK\b|Noto (Sans|Serif) (JP|SC|TC|KR)|IPA.*Gothic|Takao|VL ?Gothic|WenQuanYi"
  r"|Droid Sans Fallback|Hiragino|Yu ?Gothic|Meiryo|MS Gothic|Arial Unicode|Unifont|Source Han"
)


def _use_installed_fonts() -> None:
  """Lets text fall back to an installed font with Chinese, Japanese and Korean, if there is one."""
  installed = sorted({font.name for font in font_manager.fontManager.ttflist})
  found = [name for name in installed if _CJK.search(name)]
  matplotlib.rcParams["font.family"] = ["sans-serif", *found[:1]]


def missing_characters(texts: Iterable[str]) -> str:
  """Returns the characters that no font of the figures has, each once, in order."""
  _use_installed_fonts()
  families = matplotlib.rcParams["font.family"]
  properties = [font_manager.FontProperties(family=[name]) for name in families]
  fonts = [font_manager.get_font(font_manager.findfont(one)) for one in properties]
  known = {code for font in fonts for code in font.get_charmap()}
  return "".join(dict.fromkeys(c for text in texts for c in text if ord(c) not in known))


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
