"""Leaving at once on Ctrl-C or SIGTERM (floor 0): one line, no half-written files, the exit code of the signal.

Python's own way, an exception, is lost where it arises inside a callback of a library, and an interpreter that ends while
compiled code runs in other threads can crash. So the handler itself ends the process. Training replaces it by one that
finishes the update and saves.
"""

import contextlib
import os
import signal
import sys

has_others = False  # whether this process is one of several of a run

_temporary_files = set()


def install():
  """From here on SIGINT and SIGTERM end the process at once."""
  for number in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) is not signal.SIG_IGN:  # a shell has background jobs ignore Ctrl-C
      signal.signal(number, lambda number, _: leave(number))


def leave(number):
  """Removes temporary files, says so in one line, and ends the process with 128 + the signal's number."""
  for path in list(_temporary_files):
    with contextlib.suppress(OSError):
      os.unlink(path)
  with contextlib.suppress(OSError, ValueError):
    os.write(2, f"transformer-jax: {'interrupted' if number == signal.SIGINT else f'signal {number}'}\n".encode())
    sys.stdout.flush()
  os._exit(128 + number)


def end(code):
  """Ends the process as `sys.exit` does; after an error, one of several does not wait for the others, as jax does on its way out."""
  if has_others and code not in (0, *(128 + number for number in (signal.SIGINT, signal.SIGTERM))):
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed, or not there
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


@contextlib.contextmanager
def temporary_file(path):
  """While entered, `path` is removed if the process leaves."""
  _temporary_files.add(path)
  try:
    yield path
  finally:
    _temporary_files.discard(path)
