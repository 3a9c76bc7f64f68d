"""Flag files, read strictly: one `--name=value` a line, blank lines, and comments on lines of their
own that begin with # or //.

absl runs on where a line lacks its dashes or a file includes itself, and takes quotes and what
stands behind a value for a part of it; here each is an error that names file and line. A value that
must hold such characters can be given on the command line.
"""

import os
import pathlib
import re

from transformer_jax.errors import ConfigError

_FLAG = "--flagfile"
_COMMENT = re.compile(r"\s(#|//)")
_IN_QUOTES = re.compile(r"""(["']).*\1""")


def expand(arguments):
  """Yields (argument, where it stands) with each --flagfile replaced by its lines; "" stands for the command line.

  A file that is named in another is looked for beside that one first.

  Raises:
    ConfigError: a file that is missing, is not text, or includes itself, or a line that is no flag.
  """
  arguments = iter(arguments)
  for argument in arguments:
    if argument in (_FLAG, "-flagfile"):
      argument = f"{_FLAG}={next(arguments, '')}"
    if argument.startswith((f"{_FLAG}=", "-flagfile=")):
      yield from _lines(_path(argument), _FLAG, ())
    else:
      yield argument, ""


def _lines(path, where, including):
  """(flag, "file:line") of a file and the files it includes; `including` are those that led here."""
  for number, line in enumerate(_read(path, where, including), 1):
    line, here = line.strip(), f"{path}:{number}"
    if not line or line.startswith(("#", "//")):
      continue
    if not line.startswith("-"):
      raise ConfigError(
        here, f"'{line}' is not a flag", "write --name=value; comments begin with #"
      )
    if _COMMENT.search(line):
      raise ConfigError(
        here, f"'{line}' has a comment behind the value", "give the comment a line of its own"
      )
    if _IN_QUOTES.fullmatch(_value(line)):
      raise ConfigError(
        here,
        f"{_value(line)} is in quotes, which no shell takes off here",
        "write the value without them; it may hold blanks",
      )
    if line.startswith((f"{_FLAG}=", "-flagfile=")):
      named = _path(line)
      beside = path.parent / named
      found = beside if os.path.exists(beside) else named
      yield from _lines(found, here, (*including, path.resolve()))
    else:
      yield line, here


def _read(path, where, including):
  try:
    if path.resolve() in including:
      raise ConfigError(where, f"{path} includes itself", "remove the --flagfile line")
    if path.exists() and not path.is_file():
      raise ConfigError(where, f"{path} is no file")  # a device may never end
    return path.read_text(encoding="utf-8-sig").split("\n")
  except UnicodeDecodeError:
    raise ConfigError(where, f"{path} is not UTF-8 text") from None
  except (
    OSError,
    RuntimeError,
    ValueError,
  ) as error:  # a loop of links is a RuntimeError, a NUL in the name a ValueError
    raise ConfigError(
      where, f"{_printable(path)} cannot be read: {getattr(error, 'strerror', None) or error}"
    ) from None


def _value(argument):
  return argument.partition("=")[2]


def _path(argument):
  return pathlib.Path(os.path.expanduser(_value(argument)))


def _printable(path):
  """A path as it can stand in a line."""
  return (
    str(path)[:200].encode("unicode_escape").decode()
    if not str(path).isprintable()
    else str(path)[:200]
  )
