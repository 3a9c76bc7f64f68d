"""Writes files whole or not at all; failed writes become WorkdirErrors (floor 1).

Everything that replaces a file does it here. Folders that replace others have their own rules:
checkpoints in `checkpoints.saving`, encoded text in `data.encoded`.
"""

import contextlib
import errno
import gzip
import io
import os
import pathlib
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from typing import IO, Any

from transformer_jax.errors import WorkdirError
from transformer_jax.interrupt import temporary_file

StrPath = str | os.PathLike[str]
_AnyFile = IO | gzip.GzipFile

_WRONG_PATH = frozenset(
  {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
  }
)
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# A temporary file, with the number of the process that writes it.
_LITTER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.tmp")
_LONGEST_PART = 100  # characters of a name that another, longer name begins with


def atomic_write(path: StrPath, content: str | bytes, *, durable: bool = True) -> None:
  """Replaces a file with `content`, whole or not at all.

  Args:
    path: the file. If it is a symbolic link, the link stays and its target is replaced.
    content: bytes, or text, which is written as UTF-8; lone surrogates become question marks.
    durable: fsync before the rename, so that a power failure leaves the old or the new content.

  Raises:
    WorkdirError: the disk is full, or the folder is not writable.

  Example:
    atomic_write(workdir / "config.json", json_text(settings) + "\\n")
  """
  with _replacing(path, durable=durable) as file, as_workdir_error(path):
    file.write(_as_bytes(content))


def append(path: StrPath, text: str) -> None:
  """Appends text to a file and fsyncs it.

  Raises:
    WorkdirError: the file cannot be written.
  """
  with as_workdir_error(path), open(path, "ab") as file:
    file.write(_as_bytes(text))
    file.flush()
    os.fsync(file.fileno())


def fsync_file(path: StrPath) -> None:
  """Fsyncs one file or folder; OSError if that fails."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def fsync_tree(path: StrPath) -> None:
  """Fsyncs everything under `path`: its files, its folders, then itself; OSError if that fails."""
  for child in pathlib.Path(path).rglob("*"):
    if child.is_file() or child.is_dir():
      with contextlib.suppress(FileNotFoundError):  # a file browser's own, which may be gone again
        fsync_file(child)
  fsync_file(path)


class OutputFile:
  """A text file for output: UTF-8 in any locale; a failed write is a WorkdirError."""

  def __init__(self, file: _AnyFile, name: StrPath) -> None:
    self._file: Any = file
    self._takes_text = isinstance(file, io.TextIOBase)  # as one that replaces sys.stdout may
    self._name = name

  def write(self, text: str) -> None:
    """Writes text as it is; lone surrogates become question marks."""
    content = text if self._takes_text else _as_bytes(text)
    with as_workdir_error(self._name):
      self._file.write(content)

  def flush(self) -> None:
    """Flushes, except into a .gz file, which would grow if it were compressed in pieces."""
    if isinstance(self._file, gzip.GzipFile):
      return
    with as_workdir_error(self._name):
      self._file.flush()


@contextlib.contextmanager
def output_file(path: StrPath | None = None) -> Iterator[OutputFile]:
  """Opens a UTF-8 text file for output; None, "" or "-" is standard output.

  A file is replaced when the block ends without an error, so it may be the input. A device or a
  pipe is written to directly. A file named *.gz is compressed. BrokenPipeError passes
  through, so that the command can end quietly.

  Raises:
    WorkdirError: the output cannot be written.
  """
  if path is None or path in ("", "-"):
    name = "standard output"
    opened = _standard_output()
  elif os.path.exists(path) and not os.path.isfile(path):
    name = path
    opened = _device(path)
  else:
    name = path
    opened = _replacing(path)
  with opened as file, _compressed(file, name) as compressed:
    output = OutputFile(compressed, name)
    yield output
    output.flush()


@contextlib.contextmanager
def new_folder(path: StrPath) -> Iterator[pathlib.Path]:
  """Yields a temporary folder, which is renamed to `path` when the block ends without an error.

  It lies beside `path`, whose parents are made. Those that killed processes left there on their way
  to the same path are removed.

  Raises:
    WorkdirError: `path` exists, or the folder cannot be written; OSErrors of the block count as
      failed writes.

  Example:
    with new_folder("exported") as folder:
      atomic_write(folder / "config.json", "{}")
  """
  check_new(path)
  target = pathlib.Path(path)
  beginning = f".{target.name[:_LONGEST_PART]}."
  temporary = target.with_name(f"{beginning}{os.getpid()}-{secrets.token_hex(4)}.tmp")
  with temporary_file(temporary), as_workdir_error(path):
    target.parent.mkdir(parents=True, exist_ok=True)
    for other in target.parent.iterdir():
      if other.name.startswith(beginning) and is_litter(other.name[len(beginning) - 1 :]):
        shutil.rmtree(other, ignore_errors=True)
    temporary.mkdir()
    try:
      yield temporary
      fsync_tree(temporary)
      os.rename(temporary, target)
    except BaseException:
      shutil.rmtree(temporary, ignore_errors=True)
      raise


def check_new(path: StrPath, remedy: str = "name a new folder") -> None:
  """Refuses a path that exists, or where nothing can be made, before any work for it is done.

  Args:
    path: what is to be made.
    remedy: advice if it exists.

  Raises:
    WorkdirError: it exists, or the folder to make it in is not writable.
  """
  with as_workdir_error(path):
    try:
      os.lstat(path)
    except FileNotFoundError:
      parents = pathlib.Path(path).absolute().parents
      parent = next(parent for parent in parents if os.path.lexists(parent))
      if not os.path.isdir(parent):
        raise NotADirectoryError(errno.ENOTDIR, f"{parent} is not a folder") from None
      if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{parent} is not writable") from None
    else:
      raise WorkdirError(path, "exists already", remedy)


def is_litter(name: str) -> bool:
  """Returns whether a name is that of a temporary file of a process that has ended."""
  match = _LITTER.fullmatch(name)
  return match is not None and not _is_alive(int(match[1]))


def _is_alive(process: int) -> bool:
  """Returns whether another process of this machine has this number.

  A process of another machine that shares the folder may have it, too.
  """
  try:
    os.kill(process, 0)
  except (ProcessLookupError, OverflowError):
    return False
  except PermissionError:  # another user's
    return True
  return process != os.getpid()


@contextlib.contextmanager
def as_workdir_error(path: StrPath, remedy: str = "") -> Iterator[None]:
  """Turns an OSError inside the block, a failed write, into a WorkdirError.

  Args:
    path: the file or folder that is written to.
    remedy: advice for the user, instead of the usual one for this error.
  """
  try:
    yield
  except BrokenPipeError:
    raise
  except OSError as error:
    raise write_error(path, error, remedy) from None


def write_error(path: StrPath, error: Exception, remedy: str = "") -> WorkdirError:
  """Returns the WorkdirError for a failed write; arguments as in `as_workdir_error`.

  `error` need not be an OSError: TensorStore reports failed writes as ValueErrors.
  """
  problem = getattr(error, "strerror", None) or str(error)
  if not remedy:
    remedy = f"{_usual_remedy(error)}, then run the same command again"
  return WorkdirError(path, f"cannot be written: {problem}", remedy)


def _usual_remedy(error: Exception) -> str:
  number = getattr(error, "errno", None)
  if number == errno.ENOENT and not _has_working_folder():
    return "this shell's working folder was deleted: change to a folder that exists"
  if number in _WRONG_PATH:
    return "name another path"
  if number in _NOT_ALLOWED:
    return "make the folder writable"
  if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
    return "free some space"
  return "check the disk and the permissions"


def _has_working_folder() -> bool:
  try:
    return bool(os.getcwd())
  except OSError:
    return False


def _as_bytes(content: str | bytes) -> bytes:
  return content.encode("utf-8", errors="replace") if isinstance(content, str) else content


@contextlib.contextmanager
def _standard_output() -> Iterator[IO]:
  """Yields standard output, which stays open."""
  if sys.stdout is None:
    raise WorkdirError("standard output", "is closed", "give --output")
  yield getattr(sys.stdout, "buffer", sys.stdout)


@contextlib.contextmanager
def _device(path: StrPath) -> Iterator[IO[bytes]]:
  """Opens a device or a pipe."""
  with as_workdir_error(path):
    file = open(path, "wb")
  with _closing(file):
    yield file


@contextlib.contextmanager
def _replacing(path: StrPath, *, durable: bool = True) -> Iterator[IO[bytes]]:
  """Opens a temporary file that replaces `path` if the block ends without an error."""
  with as_workdir_error(path):
    target = pathlib.Path(os.path.realpath(path))  # a symbolic link stays one
  temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
  with temporary_file(temporary), _removed_on_error(temporary):
    with as_workdir_error(target):
      file = open(temporary, "wb")
    with _closing(file):
      yield file  # an error inside the block passes as it is, since it may have another cause
      with as_workdir_error(target):
        file.flush()
        if durable:
          os.fsync(file.fileno())
    with as_workdir_error(target):
      if target.exists():
        shutil.copymode(target, temporary)
      os.replace(temporary, target)


@contextlib.contextmanager
def _removed_on_error(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):
      path.unlink()
    raise


@contextlib.contextmanager
def _closing(file: IO[bytes]) -> Iterator[None]:
  """Closes a file that is flushed or given up; an error is ignored, as close retries the write."""
  try:
    yield
  finally:
    with contextlib.suppress(OSError):
      file.close()


@contextlib.contextmanager
def _compressed(file: IO, name: StrPath) -> Iterator[_AnyFile]:
  """Yields `file`, or a gzip file over it if `name` ends in .gz: same text, same bytes."""
  if not str(name).endswith(".gz"):
    yield file
    return
  compressed = gzip.GzipFile("", "wb", fileobj=file, mtime=0)
  try:
    yield compressed
  finally:
    with as_workdir_error(name):
      compressed.close()
