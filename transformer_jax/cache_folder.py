"""The folder of files that can be made again: programs, tokenizers, encoded text (floor 1)."""

import os
import pathlib
import stat
import tempfile

from transformer_jax.errors import WorkdirError


def cache_folder() -> pathlib.Path:
  """Returns $TRANSFORMER_JAX_CACHE, or ~/.cache/transformer_jax.

  A user without a home has a folder of their own beside the temporary files.

  Raises:
    WorkdirError: that folder cannot be made, or others can change it.
  """
  named = os.environ.get("TRANSFORMER_JAX_CACHE")
  if named:
    return pathlib.Path(os.path.expanduser(named))
  try:
    return pathlib.Path.home() / ".cache" / "transformer_jax"
  except RuntimeError:  # the user has no home
    return _own_folder(pathlib.Path(tempfile.gettempdir()) / f"transformer_jax-{os.getuid()}")


def _own_folder(path: pathlib.Path) -> pathlib.Path:
  """Makes a folder that only this user can change, since compiled programs are loaded from it."""
  try:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
  except OSError as error:
    raise WorkdirError(
      path,
      f"cannot be made: {error.strerror or error}",
      "set TRANSFORMER_JAX_CACHE to a writable folder",
    ) from None
  is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
  if not is_ours or found.st_mode & 0o022:
    raise WorkdirError(
      path, "can be changed by other users", "set TRANSFORMER_JAX_CACHE to a folder of your own"
    )
  return path
