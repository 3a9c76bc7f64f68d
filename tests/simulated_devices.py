"""Runs a script on simulated devices, in one process or in several."""

import os
import pathlib
import socket
import subprocess
import sys

from patience import PATIENCE

ROOT = pathlib.Path(__file__).parents[1]


def start(script, devices, *arguments):
  """Starts a script of the tests, in a process with so many simulated devices."""
  xla_flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
  env = dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=xla_flags, PYTHONPATH=str(ROOT))
  return subprocess.Popen(
    [sys.executable, script, *map(str, arguments)],
    env=env,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def start_two(script, devices, *arguments):
  """Starts it in two processes, which take their places in one run as further arguments."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  return [start(script, devices, *arguments, address, 2, number) for number in range(2)]


def lines_of(process):
  """Waits for the script's end and returns the lines that it printed."""
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, err[-3000:]
  return [line for line in out.splitlines() if not line.startswith("[Gloo]")]
