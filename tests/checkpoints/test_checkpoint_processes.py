"""A kill loses nothing; of several processes, one writes and all read."""

import os
import pathlib
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from patience import PATIENCE

import transformer_jax

# Each child is forked before jax has started threads. It saves steps until it is killed: first at
# the n-th call of a function that `save` uses, then at random times. A line of output is a step
# whose `wait` has returned.
_KILLED = """
  import os, pathlib, random, shutil, signal, sys, time
  import numpy as np
  from transformer_jax.checkpoints import Checkpoints, checksums

  def state(step):
    return {"params": {"w": np.full((100, 100), step, np.float32)}, "step": np.int32(step)}

  def run(kill_at):
    calls = 0
    def counted(function):
      def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == kill_at:
          os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
      return call
    checkpoints = Checkpoints(sys.argv[1], 2, 0)
    start = max(checkpoints.steps(), default=0) + 1
    if kill_at:
      for name in ("mkdir", "write_text", "rename"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
      shutil.rmtree = counted(shutil.rmtree)
      os.fsync = counted(os.fsync)
    for step in range(start, 1000):
      checkpoints.save(step, state(step), {"step": step})
      checkpoints.wait()
      os.write(1, b"saved %d\\n" % step)

  random.seed(5)
  for kill_at in [*range(1, 40, 3), *[0] * 12]:
    child = os.fork()
    if not child:
      run(kill_at)
    if not kill_at:
      time.sleep(random.uniform(0.1, 0.5))
      os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(1, b"killed\\n")
    steps = Checkpoints(sys.argv[1], read_only=True).steps()
    os.write(1, b"latest %d\\n" % max(steps, default=0))
    for name in os.listdir(sys.argv[1]):
      if name.isdecimal():
        checksums.verify(pathlib.Path(sys.argv[1], name))
"""


def python(code, *args):
  """Starts Python on indented code with the package under test."""
  environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(transformer_jax.__file__).parents[1])}
  return subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  )


@pytest.mark.slow
def test_killed_at_any_moment_the_last_saved_step_is_there(folder, opened):
  process = python(_KILLED, folder)
  lines = process.communicate(timeout=PATIENCE)[0].split("\n")
  assert process.returncode == 0
  saved = kills = 0
  for word, number in (line.split() for line in lines if line not in ("", "killed")):
    if word == "saved":
      saved = int(number)
    else:
      assert int(number) in (saved, saved + 1)  # killed between the rename and the report
      saved = int(number)
      kills += 1
  assert kills == 25 and saved > 3
  state, meta, step = opened(2, 0).restore(
    {"params": {"w": np.zeros((100, 100), np.float32)}, "step": np.int32(0)}
  )
  assert (step, meta) == (saved, {"step": saved})
  np.testing.assert_array_equal(state["params"]["w"], saved)
  assert all(name.isdecimal() for name in os.listdir(folder))


_TWO_PROCESSES = """
  import sys
  import jax, numpy as np
  from jax.experimental import multihost_utils
  jax.distributed.initialize("localhost:" + sys.argv[2], 2, int(sys.argv[3]))
  from transformer_jax.checkpoints import Checkpoints
  checkpoints = Checkpoints(sys.argv[1], 2, 0, primary=jax.process_index() == 0)
  for step in (1, 2, 3):
    checkpoints.save(step, {"params": np.full(3, step)}, {})
  checkpoints.wait()
  multihost_utils.sync_global_devices("saved")
  for _ in range(1 + jax.process_index()):  # each process reads when and as often as it likes
    state, _, step = checkpoints.restore({"params": np.zeros(3, int)})
  print(step, state["params"].sum(), checkpoints.steps())
"""


def test_of_two_processes_one_writes_and_both_read(folder, free_port):
  both = [python(_TWO_PROCESSES, folder, free_port, number) for number in (0, 1)]
  for process in both:
    assert process.communicate(timeout=PATIENCE)[0].strip().endswith("3 9 [2, 3]")


@pytest.fixture
def free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]
