"""Whether the files of a folder are as they were written: a list of their SHA-256 sums, and the disk's word that it has them (floor 1)."""

import hashlib
import os

from transformer_jax.errors import CheckpointError

LIST = "SHA256SUMS"  # as `sha256sum` writes it
_STRAYS = {"Thumbs.db", "desktop.ini"}  # of file browsers; others' names begin with a dot


class Damaged(CheckpointError):
  """Files that are not as they were written, unlike files that hold another model."""

  def __init__(self, where, problem):
    super().__init__(where, problem, "restore the file, or use the checkpoint of another step")


def write_list(path):
  """Lists all files under a folder in its `LIST`, but for what file browsers and systems leave."""
  names = sorted(_names(path) - {LIST})
  (path / LIST).write_text(_as_text({name: _sum(path / name) for name in names}), encoding="utf-8")


def add_to_list(path, name):
  """Lists one more file of a folder with a list; until this is done it is none of the folder's."""
  flush_one(path / name)
  _relist(path, lambda lines: {**lines, name: _sum(path / name)})


def drop_from_list(path, name):
  """Makes of a listed file one that is none of the folder's, so that it may change."""
  _relist(path, lambda lines: {other: lines[other] for other in lines if other != name})


def _relist(path, change):
  """Replaces a folder's list by what a function makes of it: the old or the new one is there."""
  lines = change(_parsed((path / LIST).read_bytes()))
  temporary = path / f".{LIST}.tmp"
  temporary.write_text(_as_text(dict(sorted(lines.items()))), encoding="utf-8")
  flush_one(temporary)
  temporary.replace(path / LIST)
  flush_one(path)


def is_listed(path, name):
  """Whether a folder's list names a file."""
  return name in _parsed((path / LIST).read_bytes())


def _parsed(content):
  """File name -> SHA-256, of a list's bytes."""
  lines = content.decode(errors="replace").splitlines()
  return dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)


def _files(path):
  """The files under a folder that somebody meant to put there."""
  named = (file for file in path.rglob("*") if not file.name.startswith("."))
  return (file for file in named if file.name not in _STRAYS and not file.is_dir())


def _names(path):
  """The set of their names, from the folder on."""
  return {file.relative_to(path).as_posix() for file in _files(path)}


def _sum(path):
  """SHA-256 of a file in hex."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _as_text(sums):
  return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def verify(path, is_own=lambda name: True):
  """Compares the files that a folder's list names with it, byte for byte.

  Args:
    path: the folder.
    is_own: function (name of a file that is not listed) -> whether it should be. Others are none of
      the folder's: a file browser's, a file system's, a note.

  Raises:
    Damaged: names the first file that differs.
  """
  try:
    content = (path / LIST).read_bytes()  # once: `add_to_list` may replace it
    listed = _parsed(content)
    for name, digest in listed.items():
      if _sum(path / name) != digest:
        problem = f"has changed since it was written: its SHA-256 is not the one in {LIST}"
        raise Damaged(path / name, problem)
    others = _names(path) - {LIST, *listed}
  except FileNotFoundError as error:
    lists_it = f", and {LIST} lists it" if error.filename != str(path / LIST) else ""
    raise Damaged(error.filename, f"is missing{lists_it}") from None
  except OSError as error:
    raise Damaged(error.filename, f"cannot be read: {error.strerror or error}") from None
  except ValueError:  # a name with a null character
    raise Damaged(path / LIST, "has changed since it was written") from None
  if added := sorted(filter(is_own, others)):
    raise Damaged(path / added[0], f"is not in {LIST}, which lists all files")
  if not listed or content != _as_text(listed).encode(errors="replace"):
    raise Damaged(path / LIST, "has changed since it was written")


def flush(path):
  """Has the disk take in the files and folders under `path`."""
  folders = [child for child in path.rglob("*") if child.is_dir()]
  for child in [*_files(path), *folders, path]:
    flush_one(child)


def flush_one(path):
  """The same for one file or folder."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
