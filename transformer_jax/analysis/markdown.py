"""Text in Markdown, for reports."""

import pathlib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

_WIDTH = 100  # columns of prose; rows of tables, headings, pictures and commands stay on one line


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
  """Returns the lines of a Markdown table. Cells are shown by `str`, so format numbers before."""
  lines = [header, ["---"] * len(header), *rows]
  return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cell(content: Any) -> str:
  return str(content).replace("|", "\\|")


def images(paths: Iterable[pathlib.Path]) -> list[str]:
  """Returns a line for each PNG among the `paths` of figures; the page lies in the same folder."""
  return [f"![{path.stem}]({path.name})" for path in paths if path.suffix == ".png"]


def wrapped(lines: Iterable[str]) -> list[str]:
  """Returns the lines of a page, with prose wrapped at 100 columns."""
  return [part for line in lines for part in _wrapped_line(line)]


def _wrapped_line(line: str) -> list[str]:
  if not line or line.startswith(("|", "#", "!", "`")):
    return [line]
  indent = "  " if line.startswith("- ") else ""
  return textwrap.wrap(
    line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
  )
