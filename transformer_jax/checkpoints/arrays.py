"""Writes and reads the arrays of a state with orbax; `saving` decides when they count."""

import contextlib
import math
import pathlib
import re
import secrets
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from transformer_jax.checkpoints.checksums import Damaged
from transformer_jax.checkpoints.leaves import check_fit, named_leaves
from transformer_jax.errors import CheckpointError, WorkdirError
from transformer_jax.interrupt import temporary_file

# Characters that orbax does not read as a pattern, nor TensorStore as an address.
_PLAIN = re.compile(r"[A-Za-z0-9_./+=,@ -]*")

# A state is at most this many times larger than its files.
_COMPRESSION = 100


def write_arrays(path: pathlib.Path, state: Any) -> None:
  """Writes a pytree of numpy arrays to a new folder `path`."""
  with plainly_named(path.parent) as plain, _orbax() as writer:
    writer.save(plain / path.name, args=ocp.args.PyTreeSave(state))


def read_arrays(path: pathlib.Path, part: str, like: Any = None) -> dict[str, np.ndarray]:
  """Returns name -> numpy array of a folder that `write_arrays` wrote.

  Args:
    path: the folder.
    part: a key at the top of the state: only the arrays under it; "": all arrays.
    like: pytree of leaves with the shape and dtype that the state, or this part of it, must have;
      compared before arrays are read.

  Raises:
    CheckpointError: the arrays are not like `like`, or there is no state.
  """
  with plainly_named(path) as plain, _orbax() as reader, _orbax_errors_as_damage(path):
    tree = reader.metadata(plain).item_metadata.tree
    if part and part not in tree:
      raise CheckpointError(path, f"has no {part}")
    if part:
      tree = {part: tree[part]}
    _check_claims(path, tree[part] if part else tree, like)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    args = ocp.args.PyTreeRestore(item=tree, restore_args=as_numpy, partial_restore=bool(part))
    return dict(named_leaves(reader.restore(plain, args=args)))


def check_readable(path: pathlib.Path, state: Any) -> None:
  """Checks that orbax can read back what it wrote; once it could not, and raised no error.

  Raises:
    WorkdirError: the files do not describe arrays like those of `state`.
  """
  try:
    with plainly_named(path) as plain, _orbax() as reader, _orbax_errors_as_damage(path):
      check_fit(state, reader.metadata(plain).item_metadata.tree, path)
  except CheckpointError as error:
    problem = f"cannot be read back after it was written: {error.problem}"
    raise WorkdirError(path.parent, problem, "use another --workdir") from None


@contextlib.contextmanager
def plainly_named(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the path of a folder, or of a link to it if orbax would misread the folder's own.

  Orbax looks for its own files with a pattern that contains the whole path, and TensorStore
  accepts no backslash.

  Raises:
    WorkdirError: orbax would misread the path of the folder for temporary files, too.
  """
  if _PLAIN.fullmatch(str(path)):
    yield path
    return
  link = pathlib.Path(tempfile.gettempdir(), f"transformer_jax-{secrets.token_hex(8)}")
  if not _PLAIN.fullmatch(str(link)):
    raise WorkdirError(
      path,
      "has a name that checkpoints cannot be written under",
      "use another --workdir, or another TMPDIR",
    )
  with temporary_file(link):
    link.symlink_to(path, target_is_directory=True)
    try:
      yield link
    finally:
      link.unlink()


def _orbax() -> ocp.Checkpointer:
  """Returns a checkpointer of this process only, so the processes of a run need not wait.

  It does not compress: compression saves 8% of the size of float32 weights, but a save then takes
  three times the processor time.
  """
  me = jax.process_index()
  only_this_process = ocp.options.MultiprocessingOptions(
    me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
  )
  handler = ocp.PyTreeCheckpointHandler(
    use_compression=False, multiprocessing_options=only_this_process
  )
  return ocp.Checkpointer(handler, multiprocessing_options=only_this_process)


@contextlib.contextmanager
def _orbax_errors_as_damage(path: pathlib.Path) -> Iterator[None]:
  """Reports files that hold no state as damaged; orbax raises many kinds of errors for them."""
  try:
    yield
  except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
    first_line = next(iter(str(error).splitlines()), "")[:200]
    problem = f"holds no state that can be read: {type(error).__name__} {first_line}"
    raise Damaged(path, problem) from None


def _check_claims(path: pathlib.Path, tree: Any, like: Any) -> None:
  """Refuses a state that does not fit, or claims more than its files can hold.

  This comes before memory is allocated for it.
  """
  if like is not None:
    check_fit(like, tree, path.parent)
  claimed = 0
  for leaf in jax.tree.leaves(tree):
    claimed += math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
  found = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
  if claimed > _COMPRESSION * found:
    problem = f"claims {claimed:,} bytes of arrays in {found:,} bytes of files"
    raise Damaged(path, problem)
