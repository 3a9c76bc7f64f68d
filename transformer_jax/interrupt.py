"""Ends the process at once on Ctrl-C, SIGTERM or SIGHUP (floor 0).

It leaves one line on stderr, no half-written files, and the exit code of the signal.

Python would raise an exception, which is lost if it arises inside a callback of a library. And an
interpreter that ends while compiled code runs in other threads can crash. So the handler itself
ends the process. Training replaces it with one that finishes the update and saves.
"""

import contextlib
import os
import pathlib
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

has_others = False  # true if this process is one of several of a run

# The signals that ask a process to end. SIGHUP comes when the terminal or the connection has
# gone; not every system has it.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

# Seconds for the main thread, which may be in compiled code, to act on a signal.
_MAIN_THREAD_DELAY = 0.2

# Seconds for the last output: if nobody reads it, writing waits.
_LAST_OUTPUT_TIMEOUT = 1.0

_temporary_files: set[pathlib.Path] = set()
_is_leaving = threading.Lock()


class SignalHandling:
  """A context that calls `act(number)` for each of SIGNALS, also while compiled code runs.

  Python runs a handler in the main thread, between two of its own steps, and compiled code may
  keep it from that for minutes. So a thread waits as well, and acts if the main thread has not.
  A signal that is ignored stays ignored: a shell makes background jobs ignore Ctrl-C, and nohup
  ignores SIGHUP. Outside the main thread, where Python accepts no handlers, nothing is done.
  """

  def __init__(self, act: Callable[[int], object]) -> None:
    self._act = act
    self._handlers_before: dict[int, Any] = {}

  def __enter__(self) -> "SignalHandling":
    is_main = threading.current_thread() is threading.main_thread()
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if not handled or not is_main:
      return self
    # Python writes a byte for each signal; the thread that reads it acts on it.
    self._read_end, self._write_end = socket.socketpair()
    self._read_end.setblocking(False)
    self._write_end.setblocking(False)
    descriptor = self._write_end.fileno()
    self._descriptor_before = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    for number in handled:
      self._handlers_before[number] = signal.signal(number, self._on_signal)
    threading.Thread(target=self._watch, name="signals", daemon=True).start()
    return self

  def __exit__(self, *_: object) -> None:
    if not self._handlers_before:
      return
    signal.set_wakeup_fd(self._descriptor_before)
    for number, handler in self._handlers_before.items():
      signal.signal(number, handler or signal.SIG_DFL)
    self._handlers_before = {}
    self._write_end.close()

  def _on_signal(self, number: int, frame: FrameType | None) -> None:
    del number, frame  # the byte that was written has the number
    self._act_on_arrivals()

  def _watch(self) -> None:
    """Acts, in a thread, on signals that the main thread has not taken; ends after `__exit__`."""
    with self._read_end:
      while True:
        select.select([self._read_end], [], [])
        time.sleep(_MAIN_THREAD_DELAY)
        if not self._act_on_arrivals():
          return

  def _act_on_arrivals(self) -> bool:
    """Acts on the signals that have arrived; returns whether more can come."""
    try:
      numbers = self._read_end.recv(4096)
    except BlockingIOError:  # the other thread was faster
      return True
    except OSError:  # closed
      return False
    for number in numbers:
      if number in self._handlers_before:
        self._act(number)
    return bool(numbers)


def install() -> None:
  """Makes SIGNALS end the process at once from here on, unless they are ignored."""
  _LEAVING.__enter__()


def leave(number: int) -> None:
  """Names the signal, removes temporary files, and ends the process with 128 + its number."""
  if not _is_leaving.acquire(blocking=False):
    return
  with contextlib.suppress(RuntimeError):  # no thread can start while the interpreter ends
    last_output = threading.Thread(target=_write_last_output, args=(number,), daemon=True)
    last_output.start()
    last_output.join(_LAST_OUTPUT_TIMEOUT)
  for path in list(_temporary_files):
    with contextlib.suppress(OSError):
      if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
      else:
        path.unlink()
  os._exit(128 + number)


def _write_last_output(number: int) -> None:
  name = "interrupted" if number == signal.SIGINT else f"signal {number}"
  with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream is closed, or None
    os.write(2, f"transformer-jax: {name}\n".encode())
    sys.stdout.flush()


_LEAVING = SignalHandling(leave)


def end(code: int) -> NoReturn:
  """Ends the process as `sys.exit` does.

  After an error, one of several processes does not wait for the others, as jax does at exit.
  """
  is_planned = code == 0 or code - 128 in SIGNALS
  if has_others and not is_planned:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream is closed, or None
      sys.stdout.flush()
      sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


@contextlib.contextmanager
def temporary_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Removes `path`, a file or a folder, if the process ends by `leave` inside the block."""
  _temporary_files.add(path)
  try:
    yield path
  finally:
    _temporary_files.discard(path)
