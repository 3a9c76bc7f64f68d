"""The lock of a workdir: only one process at a time can train there.

The kernel releases the lock when the process dies.
"""

import contextlib
import os
import pathlib
import socket
import sys
import time
from typing import IO

from transformer_jax.errors import WorkdirError
from transformer_jax.files import StrPath, as_workdir_error

try:
  import fcntl
except ImportError:  # on Windows, which cannot fsync a folder either
  fcntl = None

# `lock_holder` takes the lock for a moment, so a failed attempt is repeated.
_ATTEMPTS = 4
_PAUSE = 0.1  # seconds


class WorkdirLock:
  """A context that only one process at a time can enter for a workdir.

  Raises:
    WorkdirError: another process holds it, it cannot be written, or the system has no file locks.
  """

  def __init__(self, workdir: StrPath, *, primary: bool = True) -> None:
    self._path = _path(workdir)
    self._primary = primary
    self._file: IO[str] | None = None

  def __enter__(self) -> "WorkdirLock":
    if fcntl is None:
      raise WorkdirError(
        self._path,
        f"{sys.platform} has no file locks, which training needs",
        "use Linux, macOS or WSL",
      )
    if self._primary:
      with as_workdir_error(self._path):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._locked()
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
    return self

  def __exit__(self, *_: object) -> None:
    if self._file is not None:
      self._file.close()

  def _locked(self) -> IO[str]:
    """Opens and locks the file."""
    file = open(self._path, "a+", encoding="utf-8")  # "w" would erase the holder's name
    if not _try_to_lock(file):
      holder = _holder_name(self._path)
      file.close()
      raise WorkdirError(
        self._path,
        f"{holder} is training here",
        "wait for it, stop it, or use another --workdir",
      )
    return file


def lock_holder(workdir: StrPath) -> str:
  """Returns the name of the process that trains in a workdir, or "". Nothing is changed."""
  path = _path(workdir)
  if fcntl is None:
    return ""
  with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return _holder_name(path)
  return ""


def _try_to_lock(file: IO[str]) -> bool:
  """Locks a file for this process; returns False if another one holds it."""
  assert fcntl is not None  # checked by `__enter__`
  for attempt in range(_ATTEMPTS):
    if attempt:
      time.sleep(_PAUSE)
    with contextlib.suppress(BlockingIOError):
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return True
  return False


def _path(workdir: StrPath) -> pathlib.Path:
  return pathlib.Path(workdir) / "lock"


def _holder_name(path: pathlib.Path) -> str:
  return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
