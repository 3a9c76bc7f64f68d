"""Lines of text as they come: of a pipe or a terminal each as soon as it is there."""

import collections
import gzip
import select
import sys
import zlib

from transformer_jax.data.text import check_beginning, decode_line
from transformer_jax.errors import DataError

_CHUNK = 1 << 16  # bytes read at once, at most
_LONGEST_LINE = 1 << 24  # bytes; of what is longer a model takes in a few kilobytes alone


class ComingLines:
  """An iterator over the lines of a binary file, as text; whatever its bytes are, line i is line i.

  What is not UTF-8 becomes U+FFFD; `num_damaged` lines had such bytes so far, and the first of them
  is line `first_damaged`, from 1.

  Args:
    file: open for reading; it may also be an iterator over lines.
    name: what errors call it.
    is_strict: refuses what is not UTF-8.

  Raises:
    DataError: it cannot be read, holds UTF-16 or something packed, or a line is beyond all measure
      or, if strict, not UTF-8; names the line.
  """

  def __init__(self, file, name, is_strict=False):
    self._file, self._name, self._is_strict = file, name, is_strict
    self._lines, self._rest = collections.deque(), []  # whole lines, and the parts of the next one
    self._number, self._is_over = 0, False
    self.num_damaged, self.first_damaged = 0, None

  def __iter__(self):
    return self

  def __next__(self):
    while not self._lines and not self._is_over:
      self._read()
    if not self._lines:
      raise StopIteration
    self._number += 1
    return self._decode(self._lines.popleft())

  def is_at_hand(self):
    """Whether the next line, or the end, can be had without waiting."""
    while not self._lines and not self._is_over:
      if not self._is_readable():
        return False
      self._read()
    return True

  def _is_readable(self):
    """Whether reading would not wait; where the system does not know, it is taken for true."""
    try:
      return bool(select.select([self._file], [], [], 0)[0])
    except (TypeError, ValueError, OSError):  # no file of the system's
      return True

  def _read(self):
    """Takes in what is there, up to a chunk; waits for the first byte."""
    try:
      chunk = self._file.read1(_CHUNK) if hasattr(self._file, "read1") else next(self._file, b"")
      if chunk is None:  # whoever started this process wants no read to wait
        select.select([self._file], [], [])
        return
    except (OSError, EOFError, zlib.error) as error:
      reason = getattr(error, "strerror", None) or str(error)
      raise DataError(f"{self._name}:{self._number + 1}", f"cannot be read: {reason}") from None
    *whole, rest = chunk.split(b"\n")
    for line in whole:
      self._lines.append(b"".join([*self._rest, line]))
      self._rest = []
    self._rest.append(rest)
    if sum(map(len, self._rest)) > _LONGEST_LINE:
      number = self._number + len(self._lines) + 1
      problem = f"is longer than {_LONGEST_LINE:,} bytes"
      raise DataError(f"{self._name}:{number}", problem, "cut it into lines")
    self._is_over = not chunk
    if self._is_over and any(self._rest):
      self._lines.append(b"".join(self._rest))

  def _decode(self, raw):
    where = f"{self._name}:{self._number}"
    if self._number == 1:
      check_beginning(raw, self._name)
    try:
      raw.decode("utf-8")
    except UnicodeDecodeError as error:
      if self._is_strict:
        problem = f"is not UTF-8 at byte {error.start}"
        raise DataError(where, problem, "repair the line, or leave out --strict") from None
      self.num_damaged += 1
      self.first_damaged = self.first_damaged or self._number
    return decode_line(raw, self._number)


def open_input(path):
  """A context with the binary file of --input, unpacked if its name ends in .gz.

  None, "" and "-" are standard input.

  Raises:
    DataError: it cannot be opened.
  """
  if path in (None, "", "-"):
    if sys.stdin is None:
      raise DataError("standard input", "is closed", "give --input")
    return sys.stdin.buffer
  try:
    return (gzip.open if str(path).endswith(".gz") else open)(path, "rb")
  except OSError as error:
    raise DataError("--input", f"{path} cannot be read: {error.strerror or error}") from None
