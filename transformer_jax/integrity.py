"""Whether the files of a folder are as they were written: a list of their SHA-256 sums, and the disk's word that it has them (floor 1)."""

import hashlib
import os

from transformer_jax.errors import CheckpointError

LIST = "SHA256SUMS"  # as `sha256sum` writes it


class Damaged(CheckpointError):
  """Files that are not as they were written, unlike files that hold another model."""

  def __init__(self, where, problem):
    super().__init__(where, problem, "restore the file, or use the checkpoint of another step")


def write_list(path):
  """Lists all files under a folder in its `LIST`."""
  (path / LIST).write_text(_as_text(_sums(path)), encoding="utf-8")


def _sums(path):
  """File name -> SHA-256, of all files under a folder but the list."""
  names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir())
  sums = {}
  for name in names:
    if name != LIST:
      with open(path / name, "rb") as file:
        sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
  return sums


def _as_text(sums):
  return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def verify(path):
  """Compares a folder's files with its list, byte for byte.

  Raises:
    Damaged: names the first file that differs.
  """
  try:
    sums, listed = _sums(path), (path / LIST).read_bytes().decode(errors="replace")
  except FileNotFoundError as error:
    raise Damaged(error.filename, "is missing") from None
  except OSError as error:
    raise Damaged(error.filename, f"cannot be read: {error.strerror or error}") from None
  if listed == _as_text(sums):
    return
  lines = dict(line.split("  ", 1)[::-1] for line in listed.splitlines() if "  " in line)
  for name in [*lines, *sums]:
    if name not in sums:
      raise Damaged(path / name, f"is missing, and {LIST} lists it")
    if name not in lines:
      raise Damaged(path / name, f"is not in {LIST}, which lists all files")
    if lines[name] != sums[name]:
      raise Damaged(path / name, f"has changed since it was written: its SHA-256 is not the one in {LIST}")
  raise Damaged(path / LIST, "has changed since it was written")


def flush(path):
  """Has the disk take in all files and folders under `path`."""
  for child in [*path.rglob("*"), path]:
    flush_one(child)


def flush_one(path):
  """The same for one file or folder."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
