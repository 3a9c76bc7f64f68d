"""Writes a step whole or not at all, adds files to it, and removes it."""

import itertools
import pathlib
import shutil
from typing import Any

import jax

from transformer_jax.checkpoints import checksums
from transformer_jax.checkpoints.arrays import check_readable, write_arrays
from transformer_jax.checkpoints.layout import DAMAGED, DELETING, META, STATE, WRITING
from transformer_jax.files import as_workdir_error, fsync_file, fsync_tree, write_error


def write_step(folder: pathlib.Path, step: int, state: Any, meta: str) -> None:
  """Writes a step's arrays and meta.json, and renames its folder when everything is on disk.

  Raises:
    WorkdirError: a write failed, or the arrays cannot be read back.
  """
  path = folder / f"{WRITING}{step}"
  try:
    _check_room(folder, state)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    write_arrays(path / STATE, state)
    check_readable(path / STATE, state)
    (path / META).write_text(meta, encoding="utf-8")
    checksums.write_list(path)
    fsync_tree(path)
    path.rename(folder / str(step))
    fsync_file(folder)
  except (OSError, ValueError) as error:
    shutil.rmtree(path, ignore_errors=True)
    # TensorStore reports failed writes as ValueErrors.
    if isinstance(error, OSError) or "os_error_code" in str(error):
      raise write_error(folder / str(step), error) from None
    raise


def add_file(path: pathlib.Path, name: str, content: str) -> None:
  """Adds a file to a step's folder, or replaces it.

  Raises:
    WorkdirError: a write failed.
  """
  with as_workdir_error(path):
    # Removed from the list first: otherwise a kill after the write would leave a wrong checksum.
    if checksums.is_listed(path, name):
      checksums.drop_from_list(path, name)
    (path / name).write_text(content, encoding="utf-8")
    checksums.add_to_list(path, name)


def delete_step(folder: pathlib.Path, step: int) -> None:
  """Deletes a step; a kill leaves it whole, or under the name of a half-deleted one.

  Raises:
    OSError: it cannot be deleted.
  """
  rubbish = folder / f"{DELETING}{step}"
  (folder / str(step)).rename(rubbish)
  shutil.rmtree(rubbish)


def put_step_aside(folder: pathlib.Path, step: int) -> None:
  """Renames a damaged step to free its name. It is kept, since perhaps only its list is damaged.

  Raises:
    WorkdirError: it cannot be renamed.
  """
  target = folder / f"{DAMAGED}{step}"
  for number in itertools.count(2):
    if not target.exists():
      break
    target = folder / f"{DAMAGED}{step}-{number}"
  with as_workdir_error(target):
    (folder / str(step)).rename(target)


def _check_room(folder: pathlib.Path, state: Any) -> None:
  """Refuses to write to a full disk; orbax would print a traceback for every array."""
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  needed = int(1.02 * size) + 2**18
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise OSError(None, f"No space left on device: {needed:,} bytes needed, {free:,} free")
