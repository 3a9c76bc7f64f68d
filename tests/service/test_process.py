"""`transformer-jax serve` as a process: how it begins, and how it ends."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from patience import PATIENCE
from service_client import Client

from transformer_jax.cli.main import run

_HIDING = """
import sys
sys.modules["starlette"] = None
from transformer_jax.cli.main import run
sys.exit(run(["serve", "--workdir={workdir}"]))
"""


# A background job of a shell ignores Ctrl-C, and what it starts does, too.
_HEARING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("transformer_jax", run_name="__main__")
"""


def process_of(workdir, *flags):
  command = [sys.executable, "-c", _HEARING, "serve", f"--workdir={workdir}", *flags]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it(needs_packages, trained, number, code):
  process = process_of(trained, "--port=0")
  line = process.stdout.readline()
  port = int(line.split("127.0.0.1:")[1].split("/")[0])
  assert Client(port).get("/healthz")[0] == 200
  process.send_signal(number)
  _, errors = process.communicate(timeout=PATIENCE)
  assert process.returncode == code and not errors


def test_a_port_that_is_taken(needs_packages, trained, capsys):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    assert run(["serve", f"--workdir={trained}", f"--port={port}"]) == 2
  assert "Address already in use; give another --port" in capsys.readouterr().err


@pytest.mark.parametrize(
  "flag, words",
  [
    ("--host=no.such.host.invalid", "cannot be found"),
    ("--port=-1", "too small"),
    ("--port=70000", "at most 65535"),
    ("--max_lines=0", "too small"),
    ("--max_beam_size=100000", "at most 1000"),
    ("--beam_size=9", "--max_beam_size=8: the model searches with beam_size=9"),
  ],
)
def test_wrong_flags(needs_packages, trained, capsys, flag, words):
  assert run(["serve", f"--workdir={trained}", flag]) == 2
  assert words in capsys.readouterr().err


def test_a_missing_package_is_one_line(trained):
  code = _HIDING.format(workdir=trained)
  found = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    check=False,
    env=dict(os.environ),
    timeout=PATIENCE,
  )
  assert found.returncode == 2 and found.stderr.count("\n") == 1
  assert "needs the package starlette; pip install 'transformer_jax[serve]'" in found.stderr
