"""The command on a slow disk: each checkpoint stays half written, and half deleted, for a while.

    SLOW_DISK_HOLD=FOLDER python tests/faults/slow_disk.py train ...

It stays so as long as FOLDER has a file named as the beginning of the checkpoint's name then. So a
signal that is meant to fall into one of these moments does, however busy the machine is.
"""

import os
import pathlib
import shutil
import time

from transformer_jax.checkpoints.layout import DELETING, WRITING
from transformer_jax.cli.main import main

SECONDS = 0.05  # so that a run is not over before a busy machine's signals come
HOLD = pathlib.Path(os.environ["SLOW_DISK_HOLD"])

_rename = pathlib.Path.rename
_rmtree = shutil.rmtree


def wait(path, prefix):
  if path.name.startswith(prefix):
    time.sleep(SECONDS)
    while (HOLD / prefix).exists():
      time.sleep(0.001)


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
