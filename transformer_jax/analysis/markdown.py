"""Text in Markdown, for reports."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
  """Returns the lines of a Markdown table. Cells are shown by `str`, so format numbers before."""
  lines = [header, ["---"] * len(header), *rows]
  return [f"| {' | '.join(map(str, line))} |" for line in lines]


def images(paths: Iterable[pathlib.Path]) -> list[str]:
  """Returns a line for each PNG among the `paths` of figures; the page lies in the same folder."""
  return [f"![{path.stem}]({path.name})" for path in paths if path.suffix == ".png"]
