"""The processes of a run look out for each other: the one that ends without a word is named in log.txt, and the others end too.

Each process starts a witness, a small process that outlives it. As long as its process lives, which it sees from a pipe, the witness
writes a growing number to `processes/<number>` in the workdir that all share, and reads the others'. So it makes no difference how
a process ends (KILL, no memory, an abort inside a library) or whether its whole machine does, and a process that waits in a
sum over devices for one that is gone does not wait forever.
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

from transformer_jax.errors import Interrupted
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir

_BEAT = 1.0  # seconds between signs of life
_PATIENCE = 60.0  # seconds without a sign; a shared file system may show a file late
_GRACE = 10.0  # seconds for a process to end by itself once another is lost
_DONE = "done"
_ALIVE, _LOST = "alive", "lost"


class Watchdog:
  """While entered, the other processes learn how this one ends. Where it is the only one, nothing is done."""

  def __init__(self, workdir, number, count):
    self._command = [
      sys.executable,
      "-m",
      __name__,
      str(workdir),
      str(number),
      str(count),
      str(os.getpid()),
    ]
    self._is_needed, self._witness = count > 1, None

  def __enter__(self):
    if self._is_needed:
      # A session of its own: Ctrl-C in a terminal is not for it.
      self._witness = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)
    return self

  def __exit__(self, kind, error, _):
    if self._witness is not None:
      is_planned = kind is None or issubclass(kind, Interrupted)
      with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        self._witness.communicate(
          _DONE.encode() if is_planned else f"failed: {error}".encode(), timeout=_GRACE
        )


class _Witness:
  """What the small process does."""

  def __init__(self, workdir, number, count, process):
    self._folder = Workdir(workdir)
    self._files = [self._folder.path / "processes" / str(n) for n in range(count)]
    self._file, self._process = self._files[number], process
    self._name = f"process {number} of {count} ({process} on {socket.gethostname()})"
    # What stands there at the start may be of an earlier run; it counts once it has changed.
    now = time.monotonic()
    self._seen = {n: (_read(file), now, False) for n, file in enumerate(self._files) if n != number}

  def watch(self):
    """Returns when its process has ended, or has been ended as another one is lost."""
    self._file.parent.mkdir(exist_ok=True)
    beat, deadline = 0, None
    while True:
      word = _word(_BEAT)
      if word is not None:
        self._say(beat, _DONE if word == _DONE else _LOST)
        if word != _DONE:
          self._folder.log(
            f"{self._name} {word or 'ended without a word: killed, or out of memory'}"
          )
        return
      beat += 1
      self._say(beat, _ALIVE)
      if deadline is None and self._is_one_lost():
        deadline = time.monotonic() + _GRACE
      if deadline is not None and time.monotonic() > deadline:
        self._folder.log(f"{self._name} is ended, since it waits for a process that is lost")
        self._say(beat, _LOST)
        os.kill(self._process, signal.SIGKILL)
        return

  def _say(self, beat, state):
    """A sign of life. If the disk is full for a while, that is no death."""
    with contextlib.suppress(OSError):
      temporary = self._file.with_suffix(".tmp")
      temporary.write_text(json_text(dict(name=self._name, beat=beat, state=state)))
      temporary.replace(self._file)

  def _is_one_lost(self):
    """Whether another process is; one that only fell silent is named in the log here."""
    now = time.monotonic()
    for number, (before, since, has_changed) in self._seen.items():
      content = _read(self._files[number])
      if content != before:
        self._seen[number] = content, now, True
        since, has_changed = now, True
      state = content.get("state") if has_changed else None
      if state == _LOST:
        return True
      if state != _DONE and now - since > _PATIENCE:
        name = content.get("name", f"process {number} of {len(self._files)}")
        self._folder.log(f"{name} has not been heard from for {_PATIENCE:.0f} seconds")
        return True
    return False


def _word(seconds):
  """What the process says on standard input before it ends, "" if it ended without a word, None if it says nothing for so long."""
  if not select.select([sys.stdin], [], [], seconds)[0]:
    return None
  return sys.stdin.buffer.read().decode(errors="replace")


def _read(file):
  try:
    content = json.loads(pathlib.Path(file).read_bytes())
  except (OSError, ValueError):
    return {}
  return content if isinstance(content, dict) else {}


if __name__ == "__main__":
  _Witness(sys.argv[1], *map(int, sys.argv[2:5])).watch()
