"""Reading lines of text: only a newline ends one, so that line i of a file stays line i of its translation."""

import glob
import gzip
import hashlib
import os
import pathlib
import re
import zlib

from transformer_jax.config import split_list
from transformer_jax.errors import DataError

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_LONGEST_LINE = 1 << 24  # bytes: of a packed file, a few kilobytes may become gigabytes
# How files begin that are no UTF-8.
_PACKED = {
  "gzip": rb"\x1f\x8b",
  "bzip2": rb"BZh[1-9]1AY&SY",
  "xz": rb"\xfd7zXZ\0",
  "zstd": rb"\x28\xb5\x2f\xfd",
  "zip": rb"PK\x03\x04",
}
_WIDE = {
  "UTF-32": rb"\xff\xfe\0\0|\0\0\xfe\xff",
  "UTF-16": rb"\xff\xfe|\xfe\xff",
  "UTF-16LE": rb"([^\0]\0){4}",
  "UTF-16BE": rb"(\0[^\0]){4}",
}  # Latin letters without a mark
_ONLY_CARRIAGE_RETURNS = (
  "has no line feed, only carriage returns",
  "end its lines with line feeds: tr '\\r' '\\n'",
)


def raw_lines(path):
  """Yields the lines of a file (.gz by its name) as bytes, each with its "\\n".

  Raises:
    DataError: unreadable, no text that may be UTF-8 (packed, or UTF-16), or a line beyond all
      measure; names the file, or file and line.
  """
  number = 0
  try:
    with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
      while raw := file.readline(_LONGEST_LINE + 1):
        number += 1
        if number == 1:
          check_beginning(raw, path)
        if len(raw) > _LONGEST_LINE:
          _refuse_long(raw, f"{path}:{number}")
        yield raw
  except (OSError, EOFError, zlib.error) as error:
    reason = getattr(error, "strerror", None) or str(error)
    raise DataError(
      f"{path}:{number + 1}" if number else path, f"cannot be read: {reason}"
    ) from None


def check_beginning(raw, name):
  """Refuses a text by its first bytes.

  Raises:
    DataError: they are those of a packed file, or of UTF-16; `name` is where.
  """
  if kind := _kind_of(raw, _PACKED):
    is_misnamed = kind == "gzip" and not str(name).endswith(".gz")
    raise DataError(
      name,
      f"is packed by {kind}",
      "give it a name that ends in .gz, or unpack it" if is_misnamed else "unpack it",
    )
  if kind := _kind_of(raw, _WIDE):
    raise DataError(name, f"is {kind}, not UTF-8", f"convert it: iconv -f {kind} -t UTF-8")


def _kind_of(raw, beginnings):
  """The name of the first pattern that matches, or None."""
  return next((kind for kind, pattern in beginnings.items() if re.match(pattern, raw)), None)


def _refuse_long(raw, where):
  if b"\r" in raw and not raw.endswith(b"\n"):
    raise DataError(where, *_ONLY_CARRIAGE_RETURNS)
  raise DataError(where, f"is longer than {_LONGEST_LINE:,} bytes", "cut it into lines")


def read_lines(path, lines_matter=True):
  """Yields the lines of a UTF-8 file (.gz by its name).

  They come without "\\n", one "\\r" before it, and a leading BOM. `lines_matter`: a file whose only
  line ends are carriage returns is refused, for it would be one line.

  Raises:
    DataError: what `raw_lines` refuses, or not UTF-8; names file and line.
  """
  for number, raw in enumerate(raw_lines(path), 1):
    if lines_matter and number == 1 and b"\r" in raw[:-1] and not raw.endswith(b"\n"):
      raise DataError(f"{path}:1", *_ONLY_CARRIAGE_RETURNS)
    try:
      yield _strip(raw.decode("utf-8"), number)
    except UnicodeDecodeError as error:
      raise DataError(
        f"{path}:{number}",
        f"is not UTF-8 at byte {error.start}",
        "repair or remove the line, or convert the file to UTF-8 (iconv)",
      ) from None


def read_parallel(path, other_path):
  """The lines of two files, two lists of equal length.

  Raises:
    DataError: one cannot be read, or they have different numbers of lines.
  """
  lines, other = list(read_lines(path)), list(read_lines(other_path))
  if len(lines) != len(other):
    raise DataError(
      other_path, f"has {len(other)} lines, and {path} has {len(lines)}", "give parallel files"
    )
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
    raise DataError(path, f"cannot be read: {error.strerror or error}") from None


def expand_files(names, data_root, flag):
  """The files of a comma-separated setting, relative to `data_root`.

  What is no file's name is a wildcard, expanded in sorted order.

  Raises:
    DataError: a name matches no file.
  """
  files = []
  for name in split_list(names):
    path = pathlib.Path(data_root, name)
    found = [path] * os.path.isfile(path)
    if not found and glob.has_magic(name):
      found = sorted(glob.glob(str(pathlib.Path(glob.escape(str(data_root)), name))))
    if not found:
      comma = ", and a comma in a name is written \\," if "," in names else ""
      raise DataError(
        f"--{flag}",
        f"there is no file {path}",
        f"relative paths start at --data_root (or $TRANSFORMER_JAX_DATA){comma}",
      )
    files += [pathlib.Path(f) for f in found]
  return files


def _strip(line, number):
  line = line.removesuffix("\n").removesuffix("\r")
  return line.removeprefix(_BOM) if number == 1 else line
