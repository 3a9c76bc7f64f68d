"""If one of two processes of a run is killed, log.txt names it, and the other one ends."""

import signal
import time

import pytest
from campaign import Run, last_logged


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
  time.sleep(2)  # the watchdog of the killed process writes by itself
  log = (run.workdir / "log.txt").read_text()
  assert f"process {which} of 2 (" in log and "ended without a word" in log
