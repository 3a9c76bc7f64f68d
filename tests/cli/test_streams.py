"""Standard streams that are full, closed or gone, and signals.

The exit code is that of the design, the error is one line, and no file stays behind.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_run
from patience import PATIENCE

from transformer_jax.runs.train import train

PYTHON = f"{sys.executable} -m transformer_jax"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("streams") / "run"
  train(
    tiny_run.tiny_config(train_steps=2, evaluate_every=2, checkpoint_every=2, bleu_sentences=0),
    folder,
    ".",
  )
  return folder


@pytest.mark.parametrize(
  "command, code, message",
  [
    (
      "{python} digest --workdir={workdir} >/dev/full",
      6,
      "standard output: cannot be written: No space left on device",
    ),
    ("{python} --help >/dev/full", 6, "standard output: cannot be written"),
    ("{python} digest --workdir={workdir} | true; exit ${{PIPESTATUS[0]}}", 0, None),
    ("{python} train --help | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", 0, None),
    (
      "echo one | {python} translate --workdir={workdir} >/dev/full",
      6,
      "standard output: cannot be written: No space left on device",
    ),
    ("echo one | {python} translate --workdir={workdir} >&-", 6, "standard output: is closed"),
    ("{python} translate --workdir={workdir} <&-", 3, "standard input: is closed"),
    ("echo one | LC_ALL=C {python} translate --workdir={workdir}", 0, None),
    (
      "echo '(S (ÄP (N ü)))' >{workdir}/trees; PYTHONIOENCODING=ascii {python} evalb "
      "--gold={workdir}/trees --predicted={workdir}/trees",
      0,
      None,
    ),
    ("PYTHONIOENCODING=ascii {python} evalb --gold=ä --predicted=ä", 3, "\\xe4: cannot be read"),
  ],
)
def test_streams(workdir, command, code, message):
  run = subprocess.run(
    ["bash", "-c", command.format(python=PYTHON, workdir=workdir)],
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == code, run.stderr
  if message is None:
    assert run.stderr == ""
  else:
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert message in run.stderr


# A process ignores Ctrl-C from its start if the tests themselves run as a background job.
_WITH_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module('transformer_jax', run_name='__main__')
"""


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_translate_at_once_and_leaves_no_file(workdir, tmp_path, number, code):
  """The signal comes while it waits for input and has begun an output file."""
  process = subprocess.Popen(
    [
      sys.executable,
      "-c",
      _WITH_CTRL_C,
      "translate",
      f"--workdir={workdir}",
      f"--output={tmp_path}/out",
    ],
    stdin=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  end = time.monotonic() + PATIENCE
  while not list(tmp_path.iterdir()):
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.02)
  os.kill(process.pid, number)
  _, errors = process.communicate(timeout=PATIENCE)
  assert process.returncode == code
  assert len(errors.splitlines()) == 1
  assert errors.startswith("transformer-jax: ")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "flags, message",
  [
    (["--coordinator=nonsense"], "--coordinator=nonsense: is neither host:port nor auto"),
    ([f"--coordinator=h:{'9' * 5000}"], "is neither host:port nor auto"),
    ([f"--profile_steps=1:{'9' * 5000}"], "is not a range of updates"),
    (
      ["--coordinator=localhost:1", "--num_processes=2", "--process_id=5"],
      "--process_id=5: is not below --num_processes=2",
    ),
    (["--num_processes=2"], "--coordinator: is missing"),
    (["--process_id=1"], "--process_id=1: is for several processes, but there is one"),
    (["--coordinator=auto"], "--coordinator=auto: the hosts of the run were not found"),
  ],
)
def test_hosts_that_cannot_be(flags, message, tmp_path):
  run = subprocess.run(
    [*PYTHON.split(), "train", f"--workdir={tmp_path}/run", *flags],
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 2
  assert len(run.stderr.splitlines()) == 1
  assert message in run.stderr
