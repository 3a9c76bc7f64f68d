"""Finds the flag files of `experiments/`, and reads their headers.

They are inside an installed package, and beside the package in a checkout.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Sequence
from importlib import resources

from transformer_jax.errors import ConfigError

ENDING = ".flags"
_TOP = "experiments"
_SENTENCE_END = re.compile(r"(?<=[.])(?<!et al[.])\s+(?=[A-Z0-9])")
_DATA = re.compile(r"(?:^|\s)Data: (?P<how>.+)")
_NEEDS = re.compile(r"(?:^|\s)(?P<how>Needs (?!no data).+)")
_INCLUDE = re.compile(r"^-?-flagfile=(?P<name>.+?)\s*$", re.MULTILINE)


def folder() -> pathlib.Path:
  """Returns the folder of the experiments that come with this package.

  Raises:
    ConfigError: an incomplete installation has none.
  """
  package = pathlib.Path(str(resources.files("transformer_jax")))
  for place in (package / _TOP, package.parent / _TOP):
    if (place / f"quickstart{ENDING}").is_file():
      return place
  raise ConfigError(_TOP, f"there is no such folder in {package}", "install transformer_jax again")


def find(path: pathlib.Path) -> pathlib.Path:
  """Returns the file or folder of this name: from the working folder, else the package's.

  A path that begins with `experiments/` and is not in the working folder is looked for in the
  package. Other paths are returned as they are.

  Example:
    find(pathlib.Path("experiments/quickstart.flags"))
    # Path("/.../site-packages/transformer_jax/experiments/quickstart.flags")
  """
  if path.parts[:1] != (_TOP,) or os.path.lexists(path):
    return path
  with contextlib.suppress(ConfigError):
    packaged = folder().joinpath(*path.parts[1:])
    if os.path.exists(packaged):
      return packaged
  return path


def remedy_for(path: pathlib.Path) -> str:
  """Returns the remedy for a flag file that does not exist, or ""."""
  if path.parts[:1] != (_TOP,) or os.path.lexists(path):
    return ""
  return "transformer-jax experiments lists those that exist"


def names() -> list[str]:
  """Returns the names of the experiments, such as "translation/tatoeba", in order.

  The rows of a table follow the experiments; base is the first of its table.
  """
  root = folder()
  found = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob(f"*{ENDING}")]
  depth = lambda name: name.count("/")
  return sorted(found, key=lambda name: (depth(name), _without_base(name)))


def _without_base(name: str) -> tuple[str, bool, str]:
  parent, _, stem = name.rpartition("/")
  return parent, stem != "base", stem


def in_folder(given: str) -> list[str]:
  """Returns the names of the experiments in a folder of experiments; "" is all of them."""
  wanted = _without_top(given)
  return [name for name in names() if not wanted or name.startswith(f"{wanted}/")]


def full_name(given: str) -> str:
  """Returns the name of the experiment that is meant.

  `given` may begin with `experiments/`, end in `.flags`, and lack folders if it is still clear.

  Raises:
    ConfigError: there is none, or several.

  Example:
    full_name("tatoeba")  # "translation/tatoeba"
  """
  wanted = _without_top(given).removesuffix(ENDING)
  all_names = names()
  if wanted in all_names:
    return wanted
  same = [name for name in all_names if name.endswith(f"/{wanted}")]
  if len(same) > 1:
    raise ConfigError(f"'{given}'", "there are several", f"choose from {', '.join(same)}")
  if not same:
    remedy = "transformer-jax experiments lists them"
    raise ConfigError(f"'{given}'", "there is no such experiment", remedy)
  return same[0]


def _without_top(given: str) -> str:
  """Returns the name of an experiment or a folder without `experiments/`."""
  return f"{given.strip('/')}/".removeprefix(f"{_TOP}/").rstrip("/")


def as_flagfile(name: str) -> str:
  """Returns the path of an experiment that --flagfile finds from any folder."""
  return f"{_TOP}/{name}{ENDING}"


def standalone_text(name: str) -> str:
  """Returns a flag file's text, changed so that it can be used in any folder.

  The files that it includes are named as those of the package: `experiments/...`.
  """
  root = folder()
  path = root / f"{name}{ENDING}"

  def from_anywhere(match: re.Match[str]) -> str:
    included = os.path.normpath(path.parent / match["name"])
    return f"--flagfile={_TOP}/{pathlib.Path(included).relative_to(root).as_posix()}"

  return _INCLUDE.sub(from_anywhere, path.read_text(encoding="utf-8"))


def summary(path: pathlib.Path) -> str:
  """Returns the first sentence of a flag file's header."""
  return _SENTENCE_END.split(_prose(path), maxsplit=1)[0]


def data_note(path: pathlib.Path) -> str:
  """Returns how to get the data of a flag file, as its header says; or "".

  That is what follows `Data:`, to the end of the header's prose, or a sentence that begins with
  `Needs`.
  """
  prose = _prose(path)
  if match := _DATA.search(prose):
    note = match["how"]
  elif match := _NEEDS.search(prose):
    note = _SENTENCE_END.split(match["how"], maxsplit=1)[0]
  else:
    note = ""
  return note.removesuffix(".")


def _prose(path: pathlib.Path) -> str:
  """Returns the header of a flag file in one line, without its commands; "" if it has none."""
  return " ".join(" ".join(_header(path)).split())


def _header(path: pathlib.Path) -> Sequence[str]:
  """Returns the lines of a header, without # and without commands, which are indented."""
  lines = []
  with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8-sig") as file:
    for line in file:
      if not line.startswith("#"):
        break
      text = line.removeprefix("#")
      if not text.startswith("  "):
        lines.append(text)
  return lines
