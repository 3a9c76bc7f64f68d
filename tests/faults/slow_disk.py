"""The command on a slow disk: each checkpoint stays half written, and half deleted, for a while.

    SLOW_DISK_HOLD=FOLDER python tests/faults/slow_disk.py train ...

It stays so as long as FOLDER has a file of such a name, as writing-20, of its step or an earlier
one. So a signal that is meant to fall into one of these moments does, and a run is not over before
its signal comes, however busy the machine is.
"""

import os
import pathlib
import shutil
import time

from transformer_jax.checkpoints.layout import DELETING, WRITING
from transformer_jax.cli.main import main

SECONDS = 0.05
HOLD = pathlib.Path(os.environ["SLOW_DISK_HOLD"])

_rename = pathlib.Path.rename
_rmtree = shutil.rmtree


def wait(path, prefix):
  if path.name.startswith(prefix):
    time.sleep(SECONDS)
    while is_held(int(path.name.removeprefix(prefix)), prefix):
      time.sleep(0.001)


def is_held(step, prefix):
  held = [file.name.removeprefix(prefix) for file in HOLD.glob(f"{prefix}*")]
  return any(step >= int(earliest) for earliest in held)


def rename(path, target):
  wait(path, WRITING)
  return _rename(path, target)


def rmtree(path, *arguments, **settings):
  wait(pathlib.Path(path), DELETING)
  return _rmtree(path, *arguments, **settings)


if __name__ == "__main__":
  pathlib.Path.rename = rename
  shutil.rmtree = rmtree
  main()
