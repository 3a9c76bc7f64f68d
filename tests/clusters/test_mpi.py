"""`mpirun` starts the processes of a run, which find each other with --coordinator=auto."""

import os
import shutil
import subprocess
import sys

import pytest
from campaign import SETTINGS, Run
from patience import PATIENCE
from tiny_run import flags

from transformer_jax.runs.digest import digest_of

SMALL = dict(num_buckets=1, d_model=32, d_ff=32)
TRAINING = {**SETTINGS, **SMALL, "train_steps": 20}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("mpirun"), reason="needs mpirun (Debian: openmpi-bin)")
def test_processes_of_open_mpi_train_like_those_of_flags(tmp_path):
  by_flags = Run(tmp_path / "flags", 20, 1, 2, **SMALL)
  by_flags.start()
  assert by_flags.codes() == [0, 0], by_flags.errors()
  workdir = tmp_path / "mpi"
  command = [sys.executable, "-m", "transformer_jax", "train", *flags(**TRAINING)]
  # Open MPI refuses root, and more processes than cores, unless these are set.
  allowed = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
  end = subprocess.run(
    [
      "mpirun",
      "--oversubscribe",
      "--bind-to",
      "none",
      "-n",
      "2",
      *command,
      f"--workdir={workdir}",
      "--coordinator=auto",
    ],
    env={**os.environ, **by_flags.environment, **allowed},
    capture_output=True,
    text=True,
    timeout=4 * PATIENCE,
    check=False,
  )
  assert end.returncode == 0, end.stderr[-3000:]
  assert digest_of(workdir) == digest_of(tmp_path / "flags")
