"""Names in a folder of checkpoints, and the steps that it has."""

import os
import pathlib
import re

WRITING = "writing-"
DELETING = "deleting-"
DAMAGED = "damaged-"

STATE = "state"
META = "meta.json"
SCORE = "score.json"
REGULAR = "regular"

_LITTER = re.compile(rf"({WRITING}|{DELETING})\d+")

# The names that orbax and this package give their own files.
_OWN = re.compile(
  r"meta\.json|state/(.*/)?(_\w+|manifest\.ocdbt|process_\d+|commit_success\.txt|d/[^/]+)"
)


def steps_in(folder: pathlib.Path) -> list[int]:
  """Returns the steps of a folder, ascending; a damaged one is found only by reading it."""
  steps = []
  for name in _subfolders(folder):
    if name.isdecimal() and str(int(name)) == name:
      steps.append(int(name))
  return sorted(steps)


def litter_in(folder: pathlib.Path) -> list[str]:
  """Returns the names of half-written or half-deleted steps."""
  return sorted(name for name in _subfolders(folder) if _LITTER.fullmatch(name))


def put_aside_in(folder: pathlib.Path) -> list[str]:
  """Returns the names of damaged steps that were put aside."""
  return sorted(name for name in _subfolders(folder) if name.startswith(DAMAGED))


def is_own_file(name: str) -> bool:
  """Returns whether a step's file has a name that orbax or this package gives.

  Each such file is listed, or else the list is damaged.
  """
  return _OWN.fullmatch(name) is not None


def _subfolders(folder: pathlib.Path) -> list[str]:
  names = os.listdir(folder) if folder.is_dir() else []
  return [name for name in names if (folder / name).is_dir()]
