"""Reads lines of text. Only a newline ends a line, so line numbers agree in parallel files."""

import glob
import gzip
import io
import os
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import NoReturn

from transformer_jax.config import split_list
from transformer_jax.data.fingerprints import file_sha256
from transformer_jax.errors import DataError, MissingDataError
from transformer_jax.files import StrPath

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_LONGEST_LINE = 1 << 24  # bytes; a compressed file of a few kilobytes may hold gigabytes
# The first bytes of files that are not UTF-8, as patterns.
_COMPRESSED = {
  "gzip": rb"\x1f\x8b",
  "bzip2": rb"BZh[1-9]1AY&SY",
  "xz": rb"\xfd7zXZ\0",
  "zstd": rb"\x28\xb5\x2f\xfd",
  "zip": rb"PK\x03\x04",
}
_WIDE = {
  "UTF-32": rb"\xff\xfe\0\0|\0\0\xfe\xff",
  "UTF-16": rb"\xff\xfe|\xfe\xff",
  # Without a byte order mark: four Latin letters.
  "UTF-16LE": rb"([^\0]\0){4}",
  "UTF-16BE": rb"(\0[^\0]){4}",
}
_ONLY_CARRIAGE_RETURNS = (
  "has no line feed, only carriage returns",
  "end its lines with line feeds: tr '\\r' '\\n'",
)


def open_binary(path: StrPath) -> io.BufferedIOBase:
  """Opens a file to read its bytes; one whose name ends in .gz is decompressed."""
  if str(path).endswith(".gz"):
    return gzip.open(path, "rb")
  return open(path, "rb")


def raw_lines(path: StrPath) -> Iterator[bytes]:
  """Yields the lines of a file (.gz by its name) as bytes, each with its "\\n".

  Raises:
    DataError: the file cannot be read, is compressed or UTF-16, or has a line beyond 16 MiB; names
      the file, or file and line.
  """
  number = 0
  try:
    with open_binary(path) as file:
      while raw := file.readline(_LONGEST_LINE + 1):
        number += 1
        if number == 1:
          check_beginning(raw, path)
        if len(raw) > _LONGEST_LINE:
          _refuse_long(raw, f"{path}:{number}")
        yield raw
  except (OSError, EOFError, zlib.error) as error:
    where = f"{path}:{number + 1}" if number else path
    raise DataError(where, f"cannot be read: {read_problem(error)}") from None


def read_problem(error: Exception) -> str:
  """Returns the reason for a failed read: the system's message, or else the exception's."""
  return getattr(error, "strerror", None) or str(error)


def check_beginning(raw: bytes, name: StrPath) -> None:
  """Refuses a text by its first bytes.

  Raises:
    DataError: they are those of a compressed file, or of UTF-16 or UTF-32; names `name`.
  """
  if kind := _matching_kind(raw, _COMPRESSED):
    is_misnamed = kind == "gzip" and not str(name).endswith(".gz")
    remedy = "give it a name that ends in .gz, or decompress it" if is_misnamed else "decompress it"
    raise DataError(name, f"is compressed with {kind}", remedy)
  if kind := _matching_kind(raw, _WIDE):
    raise DataError(name, f"is {kind}, not UTF-8", f"convert it: iconv -f {kind} -t UTF-8")


def _matching_kind(raw, patterns):
  """Returns the name of the first pattern that `raw` begins with, or None."""
  for kind, pattern in patterns.items():
    if re.match(pattern, raw):
      return kind
  return None


def _refuse_long(raw: bytes, where: str) -> NoReturn:
  if b"\r" in raw and not raw.endswith(b"\n"):
    raise DataError(where, *_ONLY_CARRIAGE_RETURNS)
  raise DataError(where, f"is longer than {_LONGEST_LINE:,} bytes", "cut it into lines")


def read_lines(path: StrPath, lines_matter: bool = True) -> Iterator[str]:
  """Yields the lines of a UTF-8 file (.gz by its name).

  They come without "\\n", without one "\\r" before it, and without a leading BOM.

  Args:
    path: the file.
    lines_matter: refuse a file that would be one line, since only carriage returns end its lines.

  Raises:
    DataError: `raw_lines` refuses the file, or it is not UTF-8; names file and line.
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


def read_parallel(path: StrPath, other_path: StrPath) -> tuple[list[str], list[str]]:
  """Returns the lines of two files, two lists of equal length.

  Raises:
    DataError: a file cannot be read, or they have different numbers of lines.
  """
  lines = list(read_lines(path))
  other_lines = list(read_lines(other_path))
  if len(lines) != len(other_lines):
    raise DataError(
      other_path,
      f"has {len(other_lines)} lines, and {path} has {len(lines)}",
      "give parallel files",
    )
  return lines, other_lines


def decode_line(raw: bytes, number: int = 0) -> str:
  """Returns a line of any bytes as text; what is not UTF-8 becomes U+FFFD.

  `number` counts from 1; only line 1 may have a BOM.
  """
  return _strip(raw.decode("utf-8", errors="replace"), number)


def hash_file(path: StrPath, by_content: bool = False) -> bytes:
  """Returns the SHA-256 of a file's bytes; arguments as in `fingerprints.file_sha256`.

  Raises:
    DataError: the file cannot be read.
  """
  try:
    return bytes.fromhex(file_sha256(path, by_content))
  except OSError as error:
    raise DataError(path, f"cannot be read: {read_problem(error)}") from None


def expand_files(names: str, data_root: StrPath, flag: str) -> list[pathlib.Path]:
  """Returns the files of a comma-separated setting, relative to `data_root`.

  A name that is not a file's is a wildcard; its files come in sorted order.

  Args:
    names: the setting; a comma in a name is written "\\,".
    data_root: folder that relative names start from.
    flag: the setting's name, for the error.

  Raises:
    MissingDataError: a name matches no file.

  Example:
    expand_files("news.en,crawl.*.en", "data", "train_source")
    # [Path("data/news.en"), Path("data/crawl.1.en"), Path("data/crawl.2.en")]
  """
  files = []
  for name in split_list(names):
    path = pathlib.Path(data_root, name)
    if os.path.isfile(path):  # also False for names that no file can have; pathlib would raise
      found = [name]
    elif glob.has_magic(name):
      found = sorted(glob.glob(str(pathlib.Path(name)), root_dir=data_root))
    else:
      found = []
    if not found and os.path.exists(path):
      problem = "is a folder" if os.path.isdir(path) else "is no regular file"
      raise DataError(f"--{flag}", f"{path} {problem}", "name files of text")
    if not found:
      comma = ", and a comma in a name is written \\," if "," in names else ""
      raise MissingDataError(
        f"--{flag}",
        f"there is no file {path}",
        f"relative paths start at --data_root (or $TRANSFORMER_JAX_DATA){comma}",
      )
    files += [pathlib.Path(data_root, each) for each in found]
  return files


def _strip(line, number):
  line = line.removesuffix("\n").removesuffix("\r")
  return line.removeprefix(_BOM) if number == 1 else line
