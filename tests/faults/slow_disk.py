"""The command on a slow disk: each checkpoint stays half written, and half deleted, for a while.

    python tests/faults/slow_disk.py train ...

So a signal that is meant to fall into one of these moments does, however busy the machine is.
"""

import pathlib
import shutil
import time

from transformer_jax.checkpoints.layout import DELETING, WRITING
from transformer_jax.cli.main import main

SECONDS = 0.05

_rename = pathlib.Path.rename
_rmtree = shutil.rmtree


def slow_rename(path, target):
  if path.name.startswith(WRITING):
    time.sleep(SECONDS)
  return _rename(path, target)


def slow_rmtree(path, *arguments, **settings):
  if pathlib.Path(path).name.startswith(DELETING):
    time.sleep(SECONDS)
  return _rmtree(path, *arguments, **settings)


if __name__ == "__main__":
  pathlib.Path.rename = slow_rename
  shutil.rmtree = slow_rmtree
  main()
