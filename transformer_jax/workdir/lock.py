"""One process trains in a workdir: the lock that says so. The kernel drops it when the process dies."""

import contextlib
import os
import pathlib
import socket
import sys
import time

from transformer_jax.errors import WorkdirError
from transformer_jax.files import as_workdir_error

try:
  import fcntl
except ImportError:  # on Windows, which cannot flush a folder to the disk either
  fcntl = None

_ATTEMPTS, _PAUSE = (
  4,
  0.1,
)  # seconds; whoever only looks at a lock (`lock_holder`) has it for a moment


class WorkdirLock:
  """While entered, no other process can enter it for the same workdir.

  Raises:
    WorkdirError: another process has it, it cannot be written, or the system has no such locks.
  """

  def __init__(self, workdir, *, primary=True):
    self._path, self._primary, self._file = _path(workdir), primary, None

  def __enter__(self):
    if fcntl is None:
      raise WorkdirError(
        self._path,
        f"{sys.platform} has no locks of files, which training needs",
        "use Linux, macOS or WSL",
      )
    if self._primary:
      with as_workdir_error(self._path):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(
          self._path, "a+", encoding="utf-8"
        )  # not "w": it would wipe out the holder's name
        if not _is_taken(self._file):
          holder = _name(self._path)
          self._file.close()
          raise WorkdirError(
            self._path,
            f"{holder} is training here",
            "wait for it, stop it, or use another --workdir",
          )
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
    return self

  def __exit__(self, *_):
    if self._file is not None:
      self._file.close()


def lock_holder(workdir):
  """Who trains in a workdir, or an empty string. Nothing is changed."""
  path = _path(workdir)
  if fcntl is None:
    return ""
  with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return _name(path)
  return ""


def _is_taken(file):
  """Whether the lock could be taken for this process."""
  for attempt in range(_ATTEMPTS):
    with contextlib.suppress(BlockingIOError):
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return True
    if attempt < _ATTEMPTS - 1:
      time.sleep(_PAUSE)
  return False


def _path(workdir):
  return pathlib.Path(workdir) / "lock"


def _name(path):
  return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
