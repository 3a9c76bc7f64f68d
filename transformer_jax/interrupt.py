"""Leaving at once on Ctrl-C, SIGTERM or SIGHUP (floor 0): one line, no half-written files,
the exit code of the signal.

Python's own way, an exception, is lost where it arises inside a callback of a library, and an interpreter that ends while
compiled code runs in other threads can crash. So the handler itself ends the process. Training replaces it by one that
finishes the update and saves.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time

has_others = False  # whether this process is one of several of a run

# Those that ask a process to end. SIGHUP comes when the terminal or the connection has gone;
# not every system has it.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

_PATIENCE = 0.2  # seconds for the main thread, which may be in compiled code, to act on a signal
_FAREWELL = 1.0  # seconds for the last words, as nobody may read them

_temporary_files = set()
_is_leaving = threading.Lock()


class Heeding:
  """While entered, `act(number)` is called for each of SIGNALS, also while compiled code runs.

  Python runs a handler in the main thread, between two of its own steps, which compiled code may
  keep it from for minutes. So a thread stands by, and acts where the main thread has not.
  A signal that is ignored stays so: a shell has background jobs ignore Ctrl-C, and nohup SIGHUP.
  In another thread than the main one, where Python takes no handlers, nothing is done.
  """

  def __init__(self, act):
    self._act, self._before = act, {}

  def __enter__(self):
    is_main = threading.current_thread() is threading.main_thread()
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if not heeded or not is_main:
      return self
    # A byte for each signal: whoever takes it acts on it.
    self._arrivals, self._entrance = socket.socketpair()
    self._arrivals.setblocking(False)
    self._entrance.setblocking(False)
    entrance = self._entrance.fileno()
    self._entrance_before = signal.set_wakeup_fd(entrance, warn_on_full_buffer=False)
    for number in heeded:
      self._before[number] = signal.signal(number, self._on_signal)
    threading.Thread(target=self._stand_by, name="signals", daemon=True).start()
    return self

  def __exit__(self, *_):
    if not self._before:
      return
    signal.set_wakeup_fd(self._entrance_before)
    for number, handler in self._before.items():
      signal.signal(number, handler or signal.SIG_DFL)
    self._before = {}
    self._entrance.close()

  def _on_signal(self, *_):
    self._act_on_arrivals()

  def _stand_by(self):
    """In a thread: acts on what the main thread leaves lying; ends when the other end is closed."""
    with self._arrivals:
      while True:
        select.select([self._arrivals], [], [])
        time.sleep(_PATIENCE)
        if not self._act_on_arrivals():
          return

  def _act_on_arrivals(self):
    """Whether more can come."""
    try:
      numbers = self._arrivals.recv(4096)
    except BlockingIOError:  # the other thread was faster
      return True
    except OSError:  # closed
      return False
    for number in numbers:
      if number in self._before:
        self._act(number)
    return bool(numbers)


def install():
  """From here on SIGNALS end the process at once, unless they are ignored."""
  _LEAVING.__enter__()


def leave(number):
  """Says so, removes temporary files, and ends the process with 128 + the signal's number."""
  if not _is_leaving.acquire(blocking=False):
    return
  with contextlib.suppress(RuntimeError):  # no thread can begin once the interpreter ends
    farewell = threading.Thread(target=_say_farewell, args=(number,), daemon=True)
    farewell.start()
    farewell.join(_FAREWELL)
  for path in list(_temporary_files):
    with contextlib.suppress(OSError):
      os.unlink(path)
  os._exit(128 + number)


def _say_farewell(number):
  name = "interrupted" if number == signal.SIGINT else f"signal {number}"
  with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed, or gone
    os.write(2, f"transformer-jax: {name}\n".encode())
    sys.stdout.flush()


_LEAVING = Heeding(leave)


def end(code):
  """Ends the process as `sys.exit` does; after an error, one of several does not wait for the others, as jax does on its way out."""
  if has_others and code not in (0, *(128 + number for number in SIGNALS)):
    with contextlib.suppress(
      OSError, ValueError, AttributeError
    ):  # a stream may be closed, or not there
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
