"""A run with dropout that is killed ten times, by KILL and TERM, some in the middle of a checkpoint, is the run left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from tiny_run import flags, metrics_of

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.runs.digest import digest_of

SETTINGS = dict(train_steps=600, checkpoint_every=15, evaluate_every=100, log_every=5, d_model=64, d_ff=128, dropout_rate=0.3)
PATIENCE = 120  # seconds


def start(workdir):
  return subprocess.Popen([sys.executable, "-m", "transformer_jax", "train", f"--workdir={workdir}", *flags(**SETTINGS)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_step(workdir):
  try:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)
  except OSError:
    return 0


def wait_for(condition, process):
  end = time.monotonic() + PATIENCE
  while not condition():
    assert process.poll() is None, process.communicate()[1][-2000:]
    assert time.monotonic() < end
    time.sleep(0.001)


def is_writing(workdir):
  return any(name.startswith("writing-") for name in os.listdir(workdir / "checkpoints"))


def interrupt(workdir, process, how, step):
  """Waits for `step`, then stops the process; returns whether a half-written checkpoint was left."""
  if how == "start":
    time.sleep(random.uniform(0.5, 4))
    process.kill()
  elif how == "term":
    wait_for(lambda: last_step(workdir) >= step, process)
    process.terminate()
    code = process.wait(PATIENCE)
    assert code == 143, process.communicate()[1][-2000:]
  else:
    wait_for(lambda: last_step(workdir) >= step, process)
    if how == "write":
      wait_for(lambda: is_writing(workdir), process)
    process.send_signal(signal.SIGKILL)
  process.communicate(timeout=PATIENCE)
  return (workdir / "checkpoints").exists() and is_writing(workdir)


@pytest.mark.slow
def test_ten_interruptions_change_no_bit(tmp_path):
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  uninterrupted = start(whole)
  assert uninterrupted.wait(300) == 0, uninterrupted.communicate()[1][-2000:]
  uninterrupted.communicate()

  hows = ["start", "write", "term", "kill", "write", "term", "write", "kill", "term", "write"]
  in_writes = sum(interrupt(broken, start(broken), how, 45 * number) for number, how in enumerate(hows))
  assert in_writes >= 2, "no interruption fell into the writing of a checkpoint"
  last = start(broken)
  assert last.wait(300) == 0, last.communicate()[1][-2000:]
  assert "resumed at step" in last.communicate()[1]

  for step in Checkpoints(whole / "checkpoints", read_only=True).steps():
    assert digest_of(broken, step) == digest_of(whole, step)
  assert metrics_of(broken) == metrics_of(whole)
  assert {p.name for p in (broken / "checkpoints").iterdir()} == {p.name for p in (whole / "checkpoints").iterdir()}
