"""Watchdogs for multi-process runs: if a process dies, log.txt names it and the others are stopped.

Each process starts a watchdog, a small process that outlives it. A pipe tells the watchdog whether
its process lives. Meanwhile it writes a growing number, the heartbeat, to `processes/<number>` in
the shared workdir, and reads the heartbeats of the others. So it does not matter how a process ends
(KILL, out of memory, an abort inside a library) or whether its whole machine fails. And a process
in a sum over devices does not wait forever for one that is lost.

The watchdog does not import jax.
"""

import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, NamedTuple

from transformer_jax.errors import Interrupted, WorkdirError
from transformer_jax.files import StrPath, atomic_write
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir

_BEAT = 1.0  # seconds between heartbeats
_PATIENCE = 60.0  # seconds without a heartbeat; a shared file system may show a file late
_GRACE = 10.0  # seconds for a process to end by itself once another is lost
_DONE = "done"
_ALIVE, _LOST = "alive", "lost"


class Watchdog:
  """A context that tells the other processes of the run how this one ends.

  It does nothing if there are no others.
  """

  def __init__(self, workdir: StrPath, number: int, count: int) -> None:
    arguments = [str(workdir), str(number), str(count), str(os.getpid())]
    self._command = [sys.executable, "-m", __name__, *arguments]
    self._is_needed = count > 1
    self._process: subprocess.Popen | None = None

  def __enter__(self) -> "Watchdog":
    if self._is_needed:
      # A session of its own, since Ctrl-C in a terminal must not reach the watchdog.
      self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    _: TracebackType | None,
  ) -> None:
    if self._process is None:
      return
    is_planned = kind is None or issubclass(kind, Interrupted)
    last_word = _DONE if is_planned else f"failed: {error}"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
      self._process.communicate(last_word.encode(), timeout=_GRACE)


class _Seen(NamedTuple):
  """The last heartbeat of another process, as a watchdog saw it."""

  content: dict[str, Any]  # of its file
  since: float  # the time of the last change
  has_changed: bool  # since this watchdog began; an unchanged file may be of an earlier run


class _WatchdogProcess:
  """The work of the small process."""

  def __init__(self, workdir: str, number: int, count: int, process: int) -> None:
    self._folder = Workdir(workdir)
    self._files = [self._folder.path / "processes" / str(other) for other in range(count)]
    self._file = self._files[number]
    self._process = process
    self._name = f"process {number} of {count} ({process} on {socket.gethostname()})"
    now = time.monotonic()
    self._seen = {
      other: _Seen(_read(file), now, has_changed=False)
      for other, file in enumerate(self._files)
      if other != number
    }

  def watch(self) -> None:
    """Waits until its process ends; kills it if another process is lost."""
    self._file.parent.mkdir(exist_ok=True)
    beat, deadline = 0, None
    while True:
      last_word = _last_word(_BEAT)
      if last_word is not None:
        self._end(beat, last_word)
        return
      beat += 1
      self._write(beat, _ALIVE)
      if deadline is None and self._is_one_lost():
        deadline = time.monotonic() + _GRACE
      if deadline is not None and time.monotonic() > deadline:
        self._folder.log(f"{self._name} is killed: it waits for a process that is lost")
        self._write(beat, _LOST)
        os.kill(self._process, signal.SIGKILL)
        return

  def _end(self, beat: int, last_word: str) -> None:
    """Writes how the process ended, for the other watchdogs and for log.txt."""
    is_planned = last_word == _DONE
    self._write(beat, _DONE if is_planned else _LOST)
    if not is_planned:
      reason = last_word or "ended without a word: killed, or out of memory"
      self._folder.log(f"{self._name} {reason}")

  def _write(self, beat: int, state: str) -> None:
    """Writes a heartbeat. Failed writes are ignored: a full disk must not look like a death."""
    content = json_text(dict(name=self._name, beat=beat, state=state))
    with contextlib.suppress(WorkdirError):
      atomic_write(self._file, content, durable=False)

  def _is_one_lost(self) -> bool:
    """Returns whether another process is lost; logs the name of one whose heartbeat stopped."""
    now = time.monotonic()
    for number in self._seen:
      content = _read(self._files[number])
      if content != self._seen[number].content:
        self._seen[number] = _Seen(content, now, has_changed=True)
      seen = self._seen[number]
      state = content.get("state") if seen.has_changed else None
      if state == _LOST:
        return True
      if state != _DONE and now - seen.since > _PATIENCE:
        name = content.get("name", f"process {number} of {len(self._files)}")
        self._folder.log(f"{name} has not been heard from for {_PATIENCE:.0f} seconds")
        return True
    return False


def _last_word(seconds: float) -> str | None:
  """Returns what the process writes to standard input before it ends.

  "" if it ended without a word; None if it neither writes nor ends within `seconds`, so it lives.
  """
  if not select.select([sys.stdin], [], [], seconds)[0]:
    return None
  return sys.stdin.buffer.read().decode(errors="replace")


def _read(file: pathlib.Path) -> dict[str, Any]:
  """Returns the content of a process's file; {} if there is none that can be read."""
  try:
    content = json.loads(file.read_bytes())
  except (OSError, ValueError):
    return {}
  return content if isinstance(content, dict) else {}


if __name__ == "__main__":
  workdir, number, count, process = sys.argv[1:5]
  _WatchdogProcess(workdir, int(number), int(count), int(process)).watch()
