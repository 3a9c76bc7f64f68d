"""The same training on one device, on eight simulated ones, and on two processes."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from patience import PATIENCE

SCRIPT = pathlib.Path(__file__).with_name("device_stream.py")
ROOT = SCRIPT.parents[2]


def start(steps, devices, *where):
  """Starts SCRIPT on so many simulated devices; `where` is its place among several processes."""
  xla_flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
  env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=xla_flags, PYTHONPATH=str(ROOT))
  return subprocess.Popen(
    [sys.executable, SCRIPT, str(steps), *where],
    env=env,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def losses(process):
  """Waits for the script's end and returns the losses it printed."""
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, err[-3000:]
  return np.array([float(line) for line in out.splitlines() if not line.startswith("[Gloo]")])


@pytest.fixture(scope="module")
def on_one_device():
  return losses(start(30, 1))


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one(on_one_device):
  np.testing.assert_allclose(losses(start(30, 8)), on_one_device, rtol=1e-5)
  assert on_one_device[-1] < on_one_device[0]  # it does train


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(on_one_device):
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  first, second = (start(20, 1, address, "2", str(number)) for number in range(2))
  np.testing.assert_allclose(losses(first), on_one_device[:20], rtol=1e-5)
  assert losses(second).size == 0
