"""Lines of text from a file, a pipe or a terminal, each as soon as it has arrived."""

import collections
import io
import select
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from transformer_jax.data.text import (
  check_beginning,
  decode_line,
  open_binary,
  read_problem,
)
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath

_CHUNK = 1 << 16  # bytes of one read, at most
_LONGEST_LINE = 1 << 24  # bytes; a model reads only the first few kilobytes of a long line


class LineStream:
  """Iterates over the lines of a binary file as text. Only line feeds end a line.

  What is not UTF-8 becomes U+FFFD. `num_damaged` counts the lines so far that had such bytes;
  `first_damaged` is the first of them, from 1.

  Args:
    file: a file that is open for reading, or an iterator over its lines.
    name: the file's name in errors.
    is_strict: refuse what is not UTF-8.

  Raises:
    DataError: the file cannot be read, is compressed or UTF-16, has a line beyond 16 MiB, or, if
      strict, a line that is not UTF-8; names the line.
  """

  num_damaged: int
  first_damaged: int | None

  def __init__(
    self,
    file: BinaryIO | io.BufferedIOBase | Iterator[bytes],
    name: StrPath,
    is_strict: bool = False,
  ) -> None:
    self._file: Any = file
    self._name = name
    self._is_strict = is_strict
    self._lines = collections.deque()  # whole lines, not given out yet
    self._parts = []  # of the next line, which is not whole yet
    self._number = 0  # of lines given out
    self._is_over = False
    self.num_damaged = 0
    self.first_damaged = None

  def __iter__(self) -> Iterator[str]:
    return self

  def __next__(self) -> str:
    while not self._lines and not self._is_over:
      self._read()
    if not self._lines:
      raise StopIteration
    self._number += 1
    return self._decode(self._lines.popleft())

  def is_at_hand(self) -> bool:
    """Returns whether the next line, or the end, can be read without waiting."""
    while not self._lines and not self._is_over:
      if not self._is_readable():
        return False
      self._read()
    return True

  def _is_readable(self):
    """Returns whether a read would not wait; True where the system cannot tell."""
    try:
      return bool(select.select([self._file], [], [], 0)[0])
    except (TypeError, ValueError, OSError):  # not a file of the system's
      return True

  def _read(self):
    """Reads what has arrived, up to a chunk; waits for the first byte."""
    try:
      chunk = self._next_chunk()
    except (OSError, EOFError, zlib.error) as error:
      where = f"{self._name}:{self._number + 1}"
      raise DataError(where, f"cannot be read: {read_problem(error)}") from None
    if chunk is None:  # the file is non-blocking, and nothing has arrived
      return
    *whole, rest = chunk.split(b"\n")
    for end in whole:
      self._lines.append(b"".join([*self._parts, end]))
      self._parts = []
    self._parts.append(rest)
    if sum(map(len, self._parts)) > _LONGEST_LINE:
      number = self._number + len(self._lines) + 1
      problem = f"is longer than {_LONGEST_LINE:,} bytes"
      raise DataError(f"{self._name}:{number}", problem, "cut it into lines")
    self._is_over = not chunk
    if self._is_over and any(self._parts):
      self._lines.append(b"".join(self._parts))

  def _next_chunk(self):
    """Returns the bytes of one read, empty at the end; None if there was nothing to read yet."""
    if not hasattr(self._file, "read1"):
      return next(self._file, b"")
    chunk = self._file.read1(_CHUNK)
    if chunk is None:
      select.select([self._file], [], [])
    return chunk

  def _decode(self, raw):
    """Returns the text of a line, counts damaged ones, and refuses what is not text."""
    if self._number == 1:
      check_beginning(raw, self._name)
    try:
      raw.decode("utf-8")
    except UnicodeDecodeError as error:
      if self._is_strict:
        raise DataError(
          f"{self._name}:{self._number}",
          f"is not UTF-8 at byte {error.start}",
          "repair the line, or leave out --strict",
        ) from None
      self.num_damaged += 1
      self.first_damaged = self.first_damaged or self._number
    return decode_line(raw, self._number)


def open_input(path: StrPath | None) -> BinaryIO | io.BufferedIOBase:
  """Opens the binary file of --input, to be used in a `with`; one named *.gz is decompressed.

  None, "" and "-" are standard input.

  Raises:
    DataError: the file cannot be opened.
  """
  if path is None or path in ("", "-"):
    if sys.stdin is None:
      raise DataError("standard input", "is closed", "give --input")
    return sys.stdin.buffer
  try:
    return open_binary(path)
  except OSError as error:
    raise DataError("--input", f"{path} cannot be read: {read_problem(error)}") from None
