"""A workdir belongs to one process at a time, and to none that is dead."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

import transformer_jax
from transformer_jax.errors import WorkdirError
from transformer_jax.workdir import lock
from transformer_jax.workdir.lock import WorkdirLock, lock_holder

_HOLDER = """
  import sys, time
  from transformer_jax.workdir.lock import WorkdirLock
  with WorkdirLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
  environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(transformer_jax.__file__).parents[1])}
  holder = subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(_HOLDER), str(tmp_path / "run")],
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  )
  try:
    assert holder.stdout.readline() == "held\n"
    assert lock_holder(tmp_path / "run").startswith(f"process {holder.pid} on")
    with pytest.raises(
      WorkdirError, match=f"run/lock: process {holder.pid} on .* is training here"
    ):
      with WorkdirLock(tmp_path / "run"):
        pass
    with WorkdirLock(tmp_path / "run", primary=False):
      pass
  finally:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
  with WorkdirLock(tmp_path / "run"):
    assert f"process {os.getpid()} on" in (tmp_path / "run" / "lock").read_text()
    with pytest.raises(WorkdirError, match=f"process {os.getpid()} on"):
      with WorkdirLock(tmp_path / "run"):
        pass
  with WorkdirLock(tmp_path / "run"):
    pass
  assert lock_holder(tmp_path / "run") == "" == lock_holder(tmp_path / "elsewhere")


def test_a_system_without_such_locks_is_refused_in_one_line(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, "fcntl", None)
  with pytest.raises(WorkdirError, match=r"has no file locks, .*; use Linux, macOS or WSL"):
    with WorkdirLock(tmp_path / "run"):
      pass
  assert lock_holder(tmp_path) == ""


def test_the_lock_can_be_imported_without_fcntl():
  """On Windows there is no module `fcntl`: what uses it is imported all the same."""
  code = (
    "import sys; sys.modules['fcntl'] = None; from transformer_jax.workdir import lock; "
    "assert lock.fcntl is None"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
