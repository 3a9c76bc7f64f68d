"""Signals are handled while compiled code runs, stay ignored if they were, and are restored."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from patience import PATIENCE

from transformer_jax import interrupt

# Python runs no handler while its main thread is inside one call, as it is in compiled code; this
# one takes minutes.
_IN_ONE_CALL = """
  import hashlib, pathlib, signal, sys
  from transformer_jax import interrupt
  for number in interrupt.SIGNALS:  # a background job may have one ignored from birth
    signal.signal(number, signal.SIG_DFL)
  interrupt.install()
  with interrupt.temporary_file(pathlib.Path(sys.argv[1])) as path:
    path.write_text("half")
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""

_IGNORING = """
  import os, signal, sys
  from transformer_jax import interrupt
  for number in interrupt.SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  interrupt.install()
  for number in interrupt.SIGNALS:
    os.kill(os.getpid(), number)
  print("alive")
"""

_BLOCKED_OUTPUT = """
  import os, signal, sys
  from transformer_jax import interrupt
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  interrupt.install()
  print("begun", flush=True)
  sys.stdout.write("x" * 10_000_000)  # more than a pipe holds, and nobody reads
"""


def start(code, *arguments):
  command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def code_after(process, number):
  """Sends a signal to a process that has begun; returns its exit code and its stderr."""
  with process:
    try:
      assert process.stdout.readline() == b"begun\n"
      process.send_signal(number)
      return process.wait(timeout=PATIENCE), process.stderr.read().decode()
    finally:
      process.kill()


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_signal_ends_a_process_that_is_in_compiled_code(number, tmp_path):
  code, errors = code_after(start(_IN_ONE_CALL, tmp_path / "half"), number)
  assert code == 128 + number
  assert len(errors.splitlines()) == 1 and errors.startswith("transformer-jax: ")
  assert not list(tmp_path.iterdir())


def test_a_signal_ends_a_process_whose_output_nobody_reads():
  code, errors = code_after(start(_BLOCKED_OUTPUT), signal.SIGTERM)
  assert code == 128 + signal.SIGTERM and errors == "transformer-jax: signal 15\n"


def test_a_signal_that_is_ignored_stays_so():
  process = start(_IGNORING)
  output, errors = process.communicate(timeout=PATIENCE)
  assert (process.returncode, output, errors) == (0, b"alive\n", b"")


def test_handlers_and_wakeup_are_restored():
  before = [signal.getsignal(number) for number in interrupt.SIGNALS]
  heard = []
  with interrupt.SignalHandling(heard.append):
    os.kill(os.getpid(), signal.SIGTERM)
    with interrupt.SignalHandling(lambda number: heard.append(f"inner {number}")):
      os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
  assert heard == [15, "inner 15", 15]
  assert [signal.getsignal(number) for number in interrupt.SIGNALS] == before
  assert signal.set_wakeup_fd(-1) == -1


def test_in_another_thread_nothing_is_done():
  before = [signal.getsignal(number) for number in interrupt.SIGNALS]
  seen = []

  def look():
    with interrupt.SignalHandling(seen.append):
      seen.append([signal.getsignal(number) for number in interrupt.SIGNALS])

  thread = threading.Thread(target=look)
  thread.start()
  thread.join()
  assert seen == [before]


def test_a_temporary_folder_is_removed_and_a_link_to_a_folder_is_not_followed(tmp_path):
  code = """
  import pathlib, sys
  from transformer_jax import interrupt
  root = pathlib.Path(sys.argv[1])
  (root / "kept").mkdir()
  (root / "kept" / "file").write_text("x")
  (root / "half").mkdir()
  (root / "half" / "file").write_text("x")
  (root / "link").symlink_to(root / "kept")
  with interrupt.temporary_file(root / "half"), interrupt.temporary_file(root / "link"):
    interrupt.leave(15)
  """
  process = start(code, tmp_path)
  process.communicate(timeout=PATIENCE)
  assert process.returncode == 128 + signal.SIGTERM
  assert [path.name for path in tmp_path.iterdir()] == ["kept"]
  assert (tmp_path / "kept" / "file").exists()
