"""The same search in stages on one device, on four simulated ones, and on two processes."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
from patience import PATIENCE

SCRIPT = pathlib.Path(__file__).with_name("search_on_devices.py")
ROOT = SCRIPT.parents[2]


def start(devices, *where):
  """Starts SCRIPT on so many simulated devices; `where` is its place among several processes."""
  xla_flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
  env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=xla_flags, PYTHONPATH=str(ROOT))
  return subprocess.Popen(
    [sys.executable, SCRIPT, *where],
    env=env,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def answers(process):
  """Waits for the script's end and returns (tokens, scores, which are finished)."""
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, err[-3000:]
  lines = [json.loads(line) for line in out.splitlines() if not line.startswith("[Gloo]")]
  return list(zip(*lines, strict=True))


def assert_same(process, expected):
  tokens, scores, are_finished = answers(process)
  assert (tokens, are_finished) == (expected[0], expected[2])
  assert scores == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.slow
def test_devices_and_processes_give_the_same_answers():
  on_one_device = answers(start(1))
  assert len(on_one_device[0]) == 100 and len({str(tokens) for tokens in on_one_device[0]}) > 10
  assert_same(start(4), on_one_device)
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  for process in [start(2, address, "2", str(number)) for number in range(2)]:
    assert_same(process, on_one_device)
