"""Pages whose tables of results are written between two comments.

    <!-- results KIND: NAME NAME ... -->
    <!-- end of results -->

KIND is `long` or `short`, and the names are experiments, or what begins the names of several, such
as `parsing/`; or KIND is `ablation`, and the name is the path of a `table.json` from the page.
"""

import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from transformer_jax.analysis.ablation.report import summary_table
from transformer_jax.analysis.results.rows import Row
from transformer_jax.analysis.results.tables import About, long_table, short_table
from transformer_jax.errors import DataError
from transformer_jax.files import atomic_write

_ABOUT = "about.json"
_BEGIN = re.compile(r"<!-- results (long|short|ablation): (\S.*) -->")
_OF_A_SPEED = ("file", "work", "ours", "theirs", "unit", "of")
_END = "<!-- end of results -->"
_RULE = re.compile(r" --- \|")  # below a table's header; mdformat writes a shorter one


def read_about(folder: pathlib.Path) -> About:
  """Returns what the JSONs of runs in a folder do not say, from its about.json; {} without one.

  Raises:
    DataError: it is damaged.
  """
  path = folder / _ABOUT
  try:
    content = json.loads(path.read_bytes()) if path.exists() else {}
  except (OSError, ValueError, RecursionError) as error:
    raise DataError(path, f"is not JSON: {error}") from None
  if not isinstance(content, dict):
    raise DataError(path, "is not an object of objects")
  for name, about in content.items():
    if problem := _problem_of(about):
      raise DataError(path, f"{name}: {problem}")
  return content


def _problem_of(about: Any) -> str:
  """Returns what is wrong with what about.json says about a name, or ""."""
  if not isinstance(about, dict):
    return "is not an object"
  sets = about.get("sets", {})
  if not isinstance(sets, dict) or not all(isinstance(each, dict) for each in sets.values()):
    return "its sets are not an object of objects"
  for each in sets.values():
    if "published" in each and not _has(each["published"], ("score", "by")):
      return "a published score needs score and by"
  if "speed" in about and not _has(about["speed"], _OF_A_SPEED):
    return f"a speed needs {', '.join(_OF_A_SPEED)}"
  if "speed" in about and "title" not in about:
    return "a speed needs a title"
  return ""


def _has(content: Any, names: Sequence[str]) -> bool:
  return isinstance(content, dict) and {*names} <= content.keys()


def write(page: pathlib.Path, rows: Sequence[Row], about: About, folder: pathlib.Path) -> bool:
  """Writes the tables of a page; returns whether it changed.

  Args:
    page: the file.
    rows: all results.
    about: what `read_about` returned.
    folder: of the JSONs.

  Raises:
    DataError: the page cannot be read, or a table's comments or results are missing.
    WorkdirError: it cannot be written.
  """
  try:
    with page.open(encoding="utf-8", newline="") as file:  # line ends stay what they are
      before = file.read()
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(page, f"cannot be read: {error}") from None
  after = with_tables(before, page, rows, about, folder)
  if after != before:
    atomic_write(page, after)
  return after != before


def with_tables(
  text: str, page: pathlib.Path, rows: Sequence[Row], about: About, folder: pathlib.Path
) -> str:
  """Returns the text of a page with its tables made anew; see `write`."""
  lines: list[str] = []
  begin = 0  # the line where the table begins that is being read; 0: none
  for number, line in enumerate(text.split("\n"), 1):
    content = line.removesuffix("\r")
    match = _BEGIN.fullmatch(content)
    if (match or content == _END) and bool(match) == bool(begin):
      raise DataError(f"{page}:{number}", "begins or ends a table inside or outside of one")
    if match:
      begin = number
      made = _table(match[1], match[2].split(), page, rows, about, folder)
      end = line[len(content) :]  # of the lines of a page from Windows
      lines += [line, end, *(_RULE.sub(" -- |", each) + end for each in made), end]
    elif content == _END:
      begin = 0
    if not begin:
      lines.append(line)
  if begin:
    raise DataError(f"{page}:{begin}", "begins a table that does not end", f"add {_END}")
  return "\n".join(lines)


def _table(
  kind: str,
  names: Sequence[str],
  page: pathlib.Path,
  rows: Sequence[Row],
  about: About,
  folder: pathlib.Path,
) -> list[str]:
  if kind == "ablation":
    if len(names) > 1:
      raise DataError(page, f"has an ablation of {len(names)} tables", "name one")
    return _ablation(page.parent / names[0])
  items = [item for name in names for item in _named(name, rows, about, page)]
  link = pathlib.Path(os.path.relpath(folder, page.parent)).as_posix()
  if kind == "long":
    speeds = [item for item in items if not isinstance(item, Row)]
    if speeds:
      raise DataError(page, f"has the speed {speeds[0]} in a long table", "put it in a short one")
    return long_table([item for item in items if isinstance(item, Row)], about, link)
  return short_table(items, about, link, page)


def _named(name: str, rows: Sequence[Row], about: About, page: pathlib.Path) -> list[Row | str]:
  """Returns the results of an experiment, or of a folder such as "parsing/"; or a speed's name."""
  if "speed" in about.get(name, {}):
    return [name]
  if name.endswith("/"):
    found = [row for row in rows if row.experiment.startswith(name)]
  else:
    found = [row for row in rows if row.experiment == name]
  if not found:
    raise DataError(page, f"has a table of {name}, of which there is no result")
  return [*found]


def _ablation(path: pathlib.Path) -> list[str]:
  try:
    return summary_table(json.loads(path.read_bytes())["rows"])
  except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
    raise DataError(path, f"is not the table of an ablation: {error}") from None
