"""Reading lines of text: only a newline ends one, so that line i of a file stays line i of its translation."""

import glob
import gzip
import hashlib
import pathlib
import zlib

from transformer_jax.config import split_list
from transformer_jax.errors import DataError

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def read_lines(path):
  """Yields the lines of a UTF-8 file (.gz by its name) without "\\n", one "\\r" before it, and a leading BOM.

  Raises:
    DataError: unreadable, or not UTF-8; names file and line.
  """
  number = 0
  try:
    with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
      for number, raw in enumerate(file, 1):
        yield _strip(raw.decode("utf-8"), number)
  except UnicodeDecodeError as error:
    raise DataError(f"{path}:{number}", f"is not UTF-8 at byte {error.start}", "repair or remove the line") from None
  except (OSError, EOFError, zlib.error) as error:
    reason = getattr(error, "strerror", None) or str(error)
    raise DataError(f"{path}:{number + 1}" if number else path, f"cannot be read: {reason}") from None


def read_parallel(path, other_path):
  """The lines of two files, two lists of equal length.

  Raises:
    DataError: one cannot be read, or they have different numbers of lines.
  """
  lines, other = list(read_lines(path)), list(read_lines(other_path))
  if len(lines) != len(other):
    raise DataError(other_path, f"has {len(other)} lines, and {path} has {len(lines)}", "give parallel files")
  return lines, other


def decode_line(raw, number=0):
  """A line of any bytes as text; what is not UTF-8 becomes U+FFFD. `number` counts from 1; only line 1 may have a BOM."""
  return _strip(raw.decode("utf-8", errors="replace"), number)


def hash_file(path):
  """SHA-256 of a file's bytes, as bytes.

  Raises:
    DataError: it cannot be read.
  """
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").digest()
  except OSError as error:
    raise DataError(path, f"cannot be read: {error.strerror}") from None


def expand_files(names, data_root, flag):
  """The files of a comma-separated setting, wildcards expanded in sorted order, relative to `data_root`.

  Raises:
    DataError: a name matches no file.
  """
  files = []
  for name in split_list(names):
    path = pathlib.Path(data_root, name)
    found = sorted(glob.glob(str(pathlib.Path(glob.escape(str(data_root)), name)))) if glob.has_magic(name) else [str(path)] * path.is_file()
    if not found:
      raise DataError(f"--{flag}", f"there is no file {path}", "relative paths start at --data_root (or $TRANSFORMER_JAX_DATA)")
    files += [pathlib.Path(f) for f in found]
  return files


def _strip(line, number):
  line = line.removesuffix("\n").removesuffix("\r")
  return line.removeprefix(_BOM) if number == 1 else line
