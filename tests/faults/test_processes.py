"""If one of two processes of a run is killed, log.txt names it, and the other one ends."""

import signal
import time

import pytest
from campaign import SETTINGS, Run, last_logged
from patience import PATIENCE
from tiny_run import tiny_config

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.train import train


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_process_is_named_and_the_other_ends(which, tmp_path):
  run = Run(tmp_path / "run", 10**6, 1, 2)
  run.start()
  run.wait_until(lambda: last_logged(run.workdir) >= 10)
  run.send(signal.SIGKILL, which)
  codes = run.codes()  # an error if one of them continues
  assert codes[which] == -signal.SIGKILL, run.errors()
  assert codes[1 - which] not in (0, -signal.SIGKILL), run.errors()
  log = _log_with(run, "ended without a word")
  assert f"process {which} of 2 (" in log


def _log_with(run, words):
  """Waits until log.txt has the words; the watchdog of a killed process writes by itself."""
  end = time.monotonic() + PATIENCE
  while words not in (log := (run.workdir / "log.txt").read_text()):
    assert time.monotonic() < end, log
    time.sleep(0.1)
  return log


@pytest.mark.slow
def test_devices_and_processes_begin_with_the_same_parameters(tmp_path):
  source = tmp_path / "source"
  train(tiny_config(**{**SETTINGS, "train_steps": 2}), source, ".")
  digests = set()
  for number, (devices, processes) in enumerate([(1, 1), (8, 1), (2, 2)]):
    workdir = tmp_path / str(number)
    run = Run(workdir, 10**6, devices, processes, init_from=str(source), checkpoint_every=10**6)
    run.start()
    run.wait_until(lambda workdir=workdir: last_logged(workdir) >= 5)
    run.send(signal.SIGKILL, 0)
    assert run.codes()[0] == -signal.SIGKILL, run.errors()
    assert run.steps() == [0]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
      assert checkpoints.meta(0)["num_devices"] == devices * processes
    digests.add(digest_of(workdir))
  assert len(digests) == 1
