"""Checksums for a folder (SHA256SUMS): writes them and verifies the files."""

import hashlib
import pathlib
from collections.abc import Callable, Iterator

from transformer_jax.errors import CheckpointError
from transformer_jax.files import atomic_write, fsync_file

LIST = "SHA256SUMS"  # as `sha256sum` writes it
_STRAYS = {"Thumbs.db", "desktop.ini"}  # also those that begin with a dot


class Damaged(CheckpointError):
  """A file has changed or is missing. Intact files of another model are not `Damaged`."""

  def __init__(self, where: str | pathlib.Path, problem: str) -> None:
    super().__init__(where, problem, "restore the file, or use the checkpoint of another step")


def write_list(path: pathlib.Path) -> None:
  """Lists all files under a folder, except those that file browsers or systems leave."""
  sums = {name: _sum(path / name) for name in sorted(_names(path) - {LIST})}
  (path / LIST).write_text(_as_text(sums), encoding="utf-8")


def add_to_list(path: pathlib.Path, name: str) -> None:
  """Adds one file to a folder's list; until then the file does not count.

  Raises:
    WorkdirError: the list cannot be written.
  """
  fsync_file(path / name)
  sums = _listed(path)
  sums[name] = _sum(path / name)
  _replace_list(path, sums)


def drop_from_list(path: pathlib.Path, name: str) -> None:
  """Removes one file from a folder's list, so that the file may change.

  Raises:
    WorkdirError: the list cannot be written.
  """
  sums = _listed(path)
  sums.pop(name, None)
  _replace_list(path, sums)


def is_listed(path: pathlib.Path, name: str) -> bool:
  """Returns whether a folder's list names a file."""
  return name in _listed(path)


def verify(path: pathlib.Path, is_own: Callable[[str], object] = lambda name: True) -> None:
  """Compares the files of a folder with the SHA-256 sums in its list.

  Args:
    path: the folder.
    is_own: function (name of a file) -> whether it is of the kind that is listed. Other files are
      ignored if they are not listed, such as those of a file browser or a file system.

  Raises:
    Damaged: names the first file that differs.
  """
  try:
    content = (path / LIST).read_bytes()  # read once: `add_to_list` may replace it
    listed = _parsed(content)
    for name, digest in listed.items():
      if _sum(path / name) != digest:
        problem = f"has changed since it was written: its SHA-256 is not the one in {LIST}"
        raise Damaged(path / name, problem)
    others = _names(path) - {LIST, *listed}
  except FileNotFoundError as error:
    is_list = error.filename == str(path / LIST)
    raise Damaged(
      error.filename, "is missing" if is_list else f"is missing, but {LIST} lists it"
    ) from None
  except OSError as error:
    raise Damaged(error.filename, f"cannot be read: {error.strerror or error}") from None
  except ValueError:  # a name with a null character
    raise Damaged(path / LIST, "has changed since it was written") from None
  added = sorted(name for name in others if is_own(name))
  if added:
    raise Damaged(path / added[0], f"is not in {LIST}, which lists all files")
  if not listed or content != _as_text(listed).encode(errors="replace"):
    raise Damaged(path / LIST, "has changed since it was written")


def _listed(path: pathlib.Path) -> dict[str, str]:
  return _parsed((path / LIST).read_bytes())


def _parsed(content: bytes) -> dict[str, str]:
  """Returns file name -> SHA-256 of a list's bytes."""
  sums = {}
  for line in content.decode(errors="replace").splitlines():
    if "  " in line:
      digest, name = line.split("  ", 1)
      sums[name] = digest
  return sums


def _as_text(sums: dict[str, str]) -> str:
  return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def _replace_list(path: pathlib.Path, sums: dict[str, str]) -> None:
  """Replaces a folder's list; a kill leaves the old or the new one."""
  atomic_write(path / LIST, _as_text(dict(sorted(sums.items()))))
  fsync_file(path)


def _names(path: pathlib.Path) -> set[str]:
  """Returns the names, relative to a folder, of its files without those of file browsers."""
  return {file.relative_to(path).as_posix() for file in _files(path)}


def _files(path: pathlib.Path) -> Iterator[pathlib.Path]:
  for file in path.rglob("*"):
    is_stray = file.name.startswith(".") or file.name in _STRAYS
    if not is_stray and not file.is_dir():
      yield file


def _sum(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hex."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
