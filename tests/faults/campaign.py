"""Interrupts a tiny training run again and again, at random, and compares it with the run that nothing happened to.

    python tests/faults/campaign.py [--kills=200] [--stops=100] [--seed=1] [--devices=1] [--processes=1]

Everything follows from the seed but the moments at which signals arrive. Kills are KILL: while it starts, in a step, while a
checkpoint is written, while older ones are deleted. Stops are TERM and INT. After each, the latest checkpoint is compared with the
same step of the other run; at the end, all lines of metrics.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tiny_run import flags, metrics_of  # noqa: E402

from transformer_jax.checkpoints import Checkpoints  # noqa: E402
from transformer_jax.runs.digest import digest_of  # noqa: E402

SETTINGS = dict(
  numbers_limit=100_000,
  num_buckets=6,
  dropout_rate=0.1,
  d_model=64,
  d_ff=128,
  log_every=5,
  evaluate_every=100,
  bleu_sentences=0,
  checkpoint_every=10,
  keep_checkpoints=2,
)
STEPS_PER_INTERRUPTION = 12
PATIENCE = 180  # seconds that a process may take for anything
KILLS = (
  "start",
  "step",
  "write",
  "write",
  "cleanup",
)  # "write" twice: that is where most can go wrong


@dataclasses.dataclass
class Tally:
  """What a campaign found; everything but the first three must be 0."""

  kills: int = 0
  stops: int = 0
  in_a_write: int = 0  # kills that left a half-written or half-deleted checkpoint
  lost_checkpoints: int = 0  # that were whole before an interruption, and not after it
  differing_digests: int = 0
  differing_metrics: int = 0
  litter: int = 0  # left in the checkpoints at the end
  wrong_exit_codes: int = 0

  def faults(self):
    """How much went wrong."""
    return (
      self.lost_checkpoints
      + self.differing_digests
      + self.differing_metrics
      + self.litter
      + self.wrong_exit_codes
    )


class Run:
  """A training command, of one process or several, in a workdir."""

  def __init__(self, workdir, steps, devices, num_processes, **settings):
    self.workdir, self._num_processes, self._processes = workdir, num_processes, []
    self._flags = flags(**{**SETTINGS, **settings, "train_steps": steps})
    xla_flags = (
      f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    )
    self._env = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=str(ROOT), XLA_FLAGS=xla_flags)

  def start(self):
    """Starts the command."""
    hosts = lambda number: []
    if self._num_processes > 1:
      with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
      hosts = lambda number: [
        f"--coordinator={address}",
        f"--num_processes={self._num_processes}",
        f"--process_id={number}",
      ]
    command = [
      sys.executable,
      "-m",
      "transformer_jax",
      "train",
      f"--workdir={self.workdir}",
      *self._flags,
    ]
    self._errors = [tempfile.TemporaryFile() for _ in range(self._num_processes)]
    self._processes = [
      subprocess.Popen(
        command + hosts(number), stdout=subprocess.DEVNULL, stderr=errors, env=self._env
      )
      for number, errors in enumerate(self._errors)
    ]

  def is_over(self):
    """Whether a process has ended."""
    return any(process.poll() is not None for process in self._processes)

  def send(self, number, which):
    """Sends a signal to one process; the others learn of it by themselves."""
    self._processes[which].send_signal(number)

  def codes(self):
    """Waits; the exit codes."""
    return [process.wait(PATIENCE) for process in self._processes]

  def errors(self):
    """What was said on stderr, for a message."""
    result = []
    for file in self._errors:
      file.seek(0)
      result.append(file.read().decode(errors="replace")[-1500:])
    return "\n".join(result)

  def steps(self):
    """Steps of whole checkpoints, ascending."""
    return [int(name) for name in sorted(self.names(), key=len) if name.isdecimal()]

  def names(self):
    """What lies in the folder of checkpoints."""
    try:
      return os.listdir(self.workdir / "checkpoints")
    except FileNotFoundError:
      return []

  def wait_until(self, condition):
    """Waits until a condition holds, or the run is over."""
    end = time.monotonic() + PATIENCE
    while not condition() and not self.is_over():
      if time.monotonic() > end:
        raise TimeoutError(self.errors())
      time.sleep(0.0005)


def last_logged(workdir):
  """The last step of metrics.jsonl."""
  try:
    lines = (workdir / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0
  except OSError:
    return 0


def interrupt(run, how, rng):
  """One interruption of a started run. Returns (the process that got it, exit codes)."""
  before, which = last_logged(run.workdir), rng.randrange(len(run._processes))
  if how in ("write", "cleanup"):
    which = 0  # the one that writes checkpoints
  if how == "start":
    time.sleep(rng.uniform(0.05, 2.5))
  elif how in ("write", "cleanup"):
    latest, skipped = max(run.steps(), default=0), rng.randrange(2)
    prefix = "writing-" if how == "write" else "deleting-"
    run.wait_until(
      lambda: (
        max(run.steps(), default=0) >= latest + 10 * skipped
        and any(name.startswith(prefix) for name in run.names())
      )
    )
    time.sleep(rng.uniform(0, 0.02 if how == "write" else 0.001))
  else:
    run.wait_until(lambda: last_logged(run.workdir) >= before + 5 * rng.randrange(1, 3))
    time.sleep(rng.uniform(0, 0.05))
  number = {"TERM": signal.SIGTERM, "INT": signal.SIGINT}.get(how, signal.SIGKILL)
  run.send(number, which)
  return which, run.codes()


def campaign(folder, kills, stops, seed, devices=1, processes=1, say=print):
  """Runs it in `folder`; returns the Tally."""
  rng, tally = random.Random(seed), Tally()
  hows = [KILLS[i % len(KILLS)] for i in range(kills)] + [
    ("TERM", "INT")[i % 2] for i in range(stops)
  ]
  rng.shuffle(hows)
  steps = max(100, STEPS_PER_INTERRUPTION * len(hows))
  whole = Run(folder / "whole", steps, devices, processes, keep_checkpoints=10**6)
  whole.start()
  assert set(whole.codes()) == {0}, whole.errors()
  shapes = next(
    line for line in (whole.workdir / "log.txt").read_text().splitlines() if "shapes " in line
  ).rpartition("shapes ")[2]
  epochs = Checkpoints(whole.workdir / "checkpoints", read_only=True).read()[1]["data"]["epoch"]
  say(f"the run left alone: {steps} updates, {epochs} epochs, shapes {shapes}")
  assert epochs >= 3 and shapes.count("x(") >= 4
  broken = Run(folder / "broken", steps, devices, processes)
  done = collections.Counter()
  for how in hows:
    existing = set(broken.steps())
    broken.start()
    which, codes = interrupt(broken, how, rng)
    done[how] += 1
    is_killed = how in KILLS
    tally.kills, tally.stops = tally.kills + is_killed, tally.stops + (not is_killed)
    tally.in_a_write += is_killed and any(not name.isdecimal() for name in broken.names())
    expected = 0 if set(codes) == {0} else {"TERM": 143, "INT": 130}.get(how, -9)
    if (
      codes[which] != expected
      or (len(codes) > 1 and not is_killed and set(codes) != {expected})
      or (expected and 0 in codes)
    ):
      tally.wrong_exit_codes += 1
      say(f"{how}: exit codes {codes}, not {expected}: {broken.errors()}")
    after = broken.steps()
    tally.lost_checkpoints += max(existing, default=0) > max(after, default=0)
    for step in after[-1:]:
      # A signal may come between two steps that the other run keeps: then only the end of the run can tell.
      if step in whole.steps() and digest_of(broken.workdir, step) != digest_of(
        whole.workdir, step
      ):
        tally.differing_digests += 1
        say(f"{how}: step {step} differs")
    if sum(done.values()) % 25 == 0:
      say(f"{sum(done.values())} interruptions, step {max(after, default=0)}: {tally}")
  broken.start()
  codes = broken.codes()
  if set(codes) != {0}:
    tally.wrong_exit_codes += 1
    say(broken.errors())
  for step in Checkpoints(broken.workdir / "checkpoints", read_only=True).steps():
    tally.differing_digests += digest_of(broken.workdir, step) != digest_of(whole.workdir, step)
  ours, theirs = metrics_of(broken.workdir), metrics_of(whole.workdir)
  tally.differing_metrics = sum(a != b for a, b in zip(ours, theirs)) + abs(len(ours) - len(theirs))
  tally.litter = sum(not name.isdecimal() for name in broken.names())
  say(f"{dict(done)}; {len(theirs)} lines of metrics compared")
  return tally


def main():
  """Prints what a campaign found; exit code 1 if anything went wrong."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, default in dict(kills=200, stops=100, seed=1, devices=1, processes=1).items():
    parser.add_argument(f"--{name}", type=int, default=default)
  options = vars(parser.parse_args())
  with tempfile.TemporaryDirectory(prefix="faults-") as folder:
    start = time.monotonic()
    os.environ.setdefault("TRANSFORMER_JAX_CACHE", str(pathlib.Path(folder) / "cache"))
    tally = campaign(pathlib.Path(folder), **options)
  print(
    json.dumps(dict(options, **dataclasses.asdict(tally), seconds=round(time.monotonic() - start)))
  )
  sys.exit(tally.faults() > 0)


if __name__ == "__main__":
  main()
