"""The command on a disk that can be told to hold: a checkpoint stays half written, or half deleted.

    SLOW_DISK_HOLD=FOLDER python tests/faults/slow_disk.py train ...

It stays so while FOLDER has a file named as the beginning of the checkpoint's name then. So a
signal that is meant to fall into one of these moments does, however busy the machine is.
"""

import os
import pathlib
import shutil
import time

from transformer_jax.checkpoints.layout import DELETING, WRITING
from transformer_jax.cli.main import main

HOLD = pathlib.Path(os.environ["SLOW_DISK_HOLD"])

_rename = pathlib.Path.rename
_rmtree = shutil.rmtree


def wait_while_held(path, prefix):
  while path.name.startswith(prefix) and (HOLD / prefix).exists():
    time.sleep(0.001)


def rename(path, target):
  wait_while_held(path, WRITING)
  return _rename(path, target)


def rmtree(path, *arguments, **settings):
  wait_while_held(pathlib.Path(path), DELETING)
  return _rmtree(path, *arguments, **settings)


if __name__ == "__main__":
  pathlib.Path.rename = rename
  shutil.rmtree = rmtree
  main()
