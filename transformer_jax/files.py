"""Files that are whole or absent, and failed writes as WorkdirErrors (floor 1)."""

import contextlib
import errno
import gzip
import io
import os
import pathlib
import secrets
import shutil
import sys

from transformer_jax.errors import WorkdirError
from transformer_jax.interrupt import temporary_file


def atomic_write(path, content):
  """Replaces a file by `content` (str or bytes), whole or not at all.

  Raises:
    WorkdirError: the disk is full, or the folder not writable.
  """
  with _replacing(path) as file, as_workdir_error(path):
    file.write(content.encode("utf-8", errors="replace") if isinstance(content, str) else content)


def append(path, text):
  """Appends to a file and has the disk take it in."""
  with as_workdir_error(path), open(path, "ab") as file:
    file.write(text.encode("utf-8", errors="replace"))
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def output_file(path=None):
  """A UTF-8 text file for output; None, "" or "-" is standard output.

  A file is replaced when the block has ended without an error, so it may be the input; a device or a pipe is written
  to directly. What has a name in .gz is packed. BrokenPipeError passes through, for the command to end quietly.

  Raises:
    WorkdirError: the output cannot be written.
  """
  if path in (None, "", "-"):
    if sys.stdout is None:
      raise WorkdirError("standard output", "is closed", "give --output")
    name, opened = (
      "standard output",
      contextlib.nullcontext(getattr(sys.stdout, "buffer", sys.stdout)),
    )
  elif os.path.exists(path) and not os.path.isfile(path):
    with as_workdir_error(path):
      name, opened = path, _closing(open(path, "wb"))
  else:
    name, opened = path, _replacing(path)
  with opened as file, _packing(file, name) as file:
    output = _Output(file, name)
    yield output
    output.flush()


@contextlib.contextmanager
def _packing(file, name):
  """`file`, or, for a name in .gz, what packs into it: the same bytes for the same text."""
  if not str(name).endswith(".gz"):
    yield file
    return
  packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0)
  try:
    yield packed
  finally:
    with as_workdir_error(name):
      packed.close()


class _Output:
  """Text to UTF-8, whatever the locale, with failed writes as WorkdirErrors; closing is left to others."""

  def __init__(self, file, name):
    self._file, self._name = file, name

  def write(self, text):
    """Writes text as it is; lone surrogates become question marks."""
    with as_workdir_error(self._name):
      self._file.write(
        text if isinstance(self._file, io.TextIOBase) else text.encode("utf-8", errors="replace")
      )

  def flush(self):
    """Hands on what was written; what is packed stays together, for it would take more room in pieces."""
    if isinstance(self._file, gzip.GzipFile):
      return
    with as_workdir_error(self._name):
      self._file.flush()


@contextlib.contextmanager
def _replacing(path):
  """A binary file that takes the place of `path` once the block ends without an error; symbolic links stay links."""
  path = pathlib.Path(os.path.realpath(path))
  temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
  with temporary_file(temporary):
    yield from _written_beside(path, temporary)


def _written_beside(path, temporary):
  try:
    with as_workdir_error(path):
      file = open(temporary, "wb")
    with _closing(file):
      yield file  # what fails in the block is not known to be this file's fault
      with as_workdir_error(path):
        file.flush()
        os.fsync(file.fileno())
    with as_workdir_error(path):
      if path.exists():
        shutil.copymode(path, temporary)
      os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise


@contextlib.contextmanager
def _closing(file):
  """Closes a file that is flushed by then, or given up: close would try the failed write again."""
  try:
    yield file
  finally:
    with contextlib.suppress(OSError):
      file.close()


@contextlib.contextmanager
def as_workdir_error(path):
  """A context that turns a failed write inside it into a WorkdirError."""
  try:
    yield
  except BrokenPipeError:
    raise
  except OSError as error:
    raise WorkdirError(
      path,
      f"cannot be written: {error.strerror or error}",
      f"{_remedy(error)}, then run the same command again",
    ) from None


def _remedy(error):
  """What helps against a failed write, an OSError."""
  if error.errno == errno.ENOENT and not _has_working_folder():
    return "this shell's working folder was deleted: change to one that is there"
  if error.errno in (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
  ):
    return "name another path"
  if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
    return "make the folder writable"
  return "free some space, or make the folder writable"


def _has_working_folder():
  try:
    return bool(os.getcwd())
  except OSError:
    return False
