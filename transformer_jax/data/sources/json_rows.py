"""Finds the row of JSON lines that has no text of a language, for an error that names it."""

import json
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from transformer_jax.files import StrPath

_STRUCT = "translation"
_ENDINGS = (".jsonl", ".json")


class Row(NamedTuple):
  """A row without text of a language."""

  path: pathlib.Path
  line: int  # from 1
  language: str


def first_row_without(folder: StrPath, languages: Iterable[str]) -> Row | None:
  """Returns the first row of a folder's JSON lines that lacks a language that other rows have.

  A row has its texts under their languages, or in a struct `translation`. A text of null is there.
  A file that is not JSON lines is passed over. None: there is no such row.
  """
  lacking = {}
  found = set()
  for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.suffix in _ENDINGS and path.is_file():
      for line, names in _names_of_rows(path):
        found |= names
        for language in languages:
          if language not in names:
            lacking.setdefault(language, Row(path, line, language))
  return next((row for language, row in lacking.items() if language in found), None)


def _names_of_rows(path: pathlib.Path) -> Iterable[tuple[int, set[str]]]:
  """Yields (number of the line, names of the row's columns and of the struct's fields)."""
  try:
    with open(path, encoding="utf-8") as file:
      for number, line in enumerate(file, 1):
        if line.strip():
          row = json.loads(line)
          struct = row.get(_STRUCT)
          yield number, {*row, *(struct if isinstance(struct, dict) else ())}
  except (OSError, ValueError, AttributeError, RecursionError):
    return
