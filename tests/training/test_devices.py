"""The same training on one device, on eight simulated ones, and on two processes."""

import pathlib

import numpy as np
import pytest
from simulated_devices import lines_of, start, start_two

SCRIPT = pathlib.Path(__file__).with_name("device_stream.py")


def losses(process):
  """Waits for the script's end and returns the losses it printed."""
  return np.array([float(line) for line in lines_of(process)])


@pytest.fixture(scope="module")
def on_one_device():
  return losses(start(SCRIPT, 1, 30))


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one(on_one_device):
  np.testing.assert_allclose(losses(start(SCRIPT, 8, 30)), on_one_device, rtol=1e-5)
  assert on_one_device[-1] < on_one_device[0]  # it does train


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(on_one_device):
  first, second = start_two(SCRIPT, 1, 20)
  np.testing.assert_allclose(losses(first), on_one_device[:20], rtol=1e-5)
  assert losses(second).size == 0
