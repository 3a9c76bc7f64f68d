"""Reads the results of the experiments from the tables of `experiments/`."""

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

_MARKS = re.compile(r"\*\*|`")
_FILE = re.compile(r"`([\w/]+)\.flags`")


def read(root: pathlib.Path) -> dict[str, str]:
  """Returns name -> result in words, of the experiments that have one.

  Results are the rows of README.md that begin with a flag file and have a cell in bold (the first
  row of each file), and the rows with seeds of each `results/table.json`.
  """
  results: dict[str, str] = {}
  with contextlib.suppress(OSError):
    for name, cells in _rows((root / "README.md").read_text(encoding="utf-8")):
      if said := _in_words(cells):
        results.setdefault(name, said)
  for path in sorted(root.rglob("results/table.json")):
    results |= _of_table(path, path.parents[1].relative_to(root).as_posix())
  return results


def _rows(text: str) -> Iterator[tuple[str, dict[str, str]]]:
  """Yields (name of the experiment, column -> cell) of the rows that begin with a flag file."""
  columns: list[str] = []
  for line in text.splitlines():
    if not line.startswith("| "):
      columns = []
      continue
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    columns = columns or cells
    if match := _FILE.fullmatch(cells[0]):
      yield match[1], dict(zip(columns, cells, strict=False))


def _in_words(cells: Mapping[str, str]) -> str:
  """Returns the bold cell of a row with its score and its set, or "" if no cell is bold."""
  for column, cell in cells.items():
    if "**" in cell:
      score = cells["score"].partition(", ")[0] if "score" in cells else column
      return _MARKS.sub("", f"{score}: {cell}; {cells.get('set', '')}").removesuffix("; ")
  return ""


def _of_table(path: pathlib.Path, folder: str) -> dict[str, str]:
  """Returns the results of a table that `ablate` wrote; {} if it cannot be read."""
  try:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {f"{folder}/{row['row']}": _mean_in_words(row) for row in rows if row["seeds"]}
  except (OSError, ValueError, KeyError, TypeError):
    return {}


def _mean_in_words(row: Mapping[str, Any]) -> str:
  """Returns a row's mean scores, with their standard deviations over the seeds."""
  scores = []
  for name in ("perplexity", row["score"]):
    mean, sd = row[name]["mean"], row[name]["sd"]
    if mean is not None:
      title = "BLEU" if name == "bleu" else name
      scores.append(f"{title} {mean:.2f}" + ("" if sd is None else f" +- {sd:.2f}"))
  return f"{', '.join(scores)}; {row['seeds']} seeds"
