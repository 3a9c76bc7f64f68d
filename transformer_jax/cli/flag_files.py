"""Reads flag files strictly: one `--name=value` a line, blank lines, and comments on lines of their
own that begin with # or //.

absl accepts a line without dashes and a file that includes itself. It also takes quotes, and a
comment after a value, as part of the value. Here each is an error that names file and line. A value
with such characters can be given on the command line.
"""

import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from transformer_jax.cli import experiment_files
from transformer_jax.errors import ConfigError

_FLAG = "--flagfile"
_WITH_FILE = (f"{_FLAG}=", "-flagfile=")
_COMMENT = re.compile(r"\s(#|//)")
_IN_QUOTES = re.compile(r"""(["']).*\1""")
_MOST_SHOWN = 200  # characters of a path in an error


def expand(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
  """Yields (argument, "file:line") with each --flagfile replaced by its lines.

  The place of an argument on the command line is "". A file that another file names is looked for
  beside that file first. A path that begins with `experiments/` is looked for last in the package.

  Raises:
    ConfigError: a file is missing, is not text or includes itself, or a line is not a flag.
  """
  remaining = iter(arguments)
  for argument in remaining:
    if argument in (_FLAG, "-flagfile"):
      yield from _lines(_found(next(remaining, "")), _FLAG, ())
    elif argument.startswith(_WITH_FILE):
      yield from _lines(_found(_value(argument)), _FLAG, ())
    else:
      yield argument, ""


def _lines(
  path: pathlib.Path, where: str, including: tuple[pathlib.Path, ...]
) -> Iterator[tuple[str, str]]:
  """Yields (flag, "file:line") of a file and of the files that it includes.

  Args:
    path: the file.
    where: the place that names it.
    including: the files that led here.
  """
  for number, text in enumerate(_read(path, where, including), 1):
    line = text.strip()
    here = f"{path}:{number}"
    if not line or line.startswith(("#", "//")):
      continue
    _check_line(line, here)
    if line.startswith(_WITH_FILE):
      named = _as_path(_value(line))
      beside = path.parent / named
      found = beside if os.path.exists(beside) else experiment_files.find(named)
      yield from _lines(found, here, (*including, path.resolve()))
    else:
      yield line, here


def _check_line(line: str, here: str) -> None:
  """Refuses a line that is not a flag, or whose value would surprise its author."""
  if not line.startswith("-"):
    raise ConfigError(here, f"'{line}' is not a flag", "write --name=value; comments begin with #")
  if _COMMENT.search(line):
    raise ConfigError(
      here, f"'{line}' has a comment after the value", "give the comment a line of its own"
    )
  if _IN_QUOTES.fullmatch(_value(line)):
    raise ConfigError(
      here,
      f"the value {_value(line)} is in quotes, and no shell removes them here",
      "write the value without them; it may hold blanks",
    )


def _read(path: pathlib.Path, where: str, including: tuple[pathlib.Path, ...]) -> list[str]:
  """Returns the lines of a file."""
  try:
    if path.resolve() in including:
      raise ConfigError(where, f"{path} includes itself", "remove the --flagfile line")
    if path.exists() and not path.is_file():
      raise ConfigError(where, f"{path} is not a file")  # a device may be endless
    return path.read_text(encoding="utf-8-sig").split("\n")
  except UnicodeDecodeError:
    raise ConfigError(where, f"{path} is not UTF-8 text") from None
  # A loop of links is a RuntimeError, a NUL in the name a ValueError.
  except (OSError, RuntimeError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    remedy = experiment_files.remedy_for(path)
    raise ConfigError(where, f"{_printable(path)} cannot be read: {reason}", remedy) from None


def _value(argument: str) -> str:
  return argument.partition("=")[2]


def _found(text: str) -> pathlib.Path:
  return experiment_files.find(_as_path(text))


def _as_path(text: str) -> pathlib.Path:
  return pathlib.Path(os.path.expanduser(text))


def _printable(path: pathlib.Path) -> str:
  """Returns a path as it can be printed in one line."""
  shown = str(path)[:_MOST_SHOWN]
  if str(path).isprintable():
    return shown
  return shown.encode("unicode_escape").decode()
