"""Interrupts a tiny training run again and again, at random, and compares it with a whole run.

    python tests/faults/campaign.py [--kills=200] [--stops=100] [--seed=1] [--devices=1]
        [--processes=1]

Everything follows from the seed except the moments at which signals arrive. Kills are KILL: during
start-up, in a step, while a checkpoint is written, while older ones are deleted. Stops are TERM
and INT. After each interruption, the latest checkpoint is compared with the same step of the run
that was left alone; at the end, all lines of metrics.
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

from patience import PATIENCE  # noqa: E402
from tiny_run import flags, metrics_of  # noqa: E402

from transformer_jax.checkpoints import Checkpoints  # noqa: E402
from transformer_jax.checkpoints.layout import DELETING, WRITING  # noqa: E402
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
SLOW_DISK = pathlib.Path(__file__).with_name("slow_disk.py")
KILLS = ("start", "step", "write", "write", "cleanup")  # "write" twice: most can go wrong there
STOPS = ("TERM", "INT")
SIGNALS = dict.fromkeys(KILLS, signal.SIGKILL) | dict(TERM=signal.SIGTERM, INT=signal.SIGINT)


@dataclasses.dataclass
class Tally:
  """The results of a campaign; everything except the first three must be 0."""

  kills: int = 0
  stops: int = 0
  in_a_write: int = 0  # kills that left a half-written or half-deleted checkpoint
  lost_checkpoints: int = 0  # whole before an interruption, and not after it
  differing_digests: int = 0
  differing_metrics: int = 0
  litter: int = 0  # left in the folder of checkpoints at the end
  wrong_exit_codes: int = 0

  def faults(self) -> int:
    """Returns how much went wrong."""
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
    self.workdir = workdir
    self.num_processes = num_processes
    self.last_step = steps
    self._processes = []
    self._errors = []
    self._flags = flags(**{**SETTINGS, **settings, "train_steps": steps})
    self._held = workdir.with_name(f"{workdir.name}-held")
    self._held.mkdir()
    xla_flags = os.environ.get("XLA_FLAGS", "")
    self.environment = dict(
      os.environ,
      JAX_PLATFORMS="cpu",
      PYTHONPATH=str(ROOT),
      SLOW_DISK_HOLD=str(self._held),
      XLA_FLAGS=f"{xla_flags} --xla_force_host_platform_device_count={devices}",
    )

  def start(self):
    """Starts the command."""
    command = [sys.executable, SLOW_DISK, "train", f"--workdir={self.workdir}"]
    address = f"localhost:{_free_port()}"
    self._errors = []
    self._processes = []
    for number in range(self.num_processes):
      hosts = []
      if self.num_processes > 1:
        hosts = [
          f"--coordinator={address}",
          f"--num_processes={self.num_processes}",
          f"--process_id={number}",
        ]
      self._errors.append(tempfile.TemporaryFile())
      self._processes.append(
        subprocess.Popen(
          [*command, *self._flags, *hosts],
          stdout=subprocess.DEVNULL,
          stderr=self._errors[-1],
          env=self.environment,
        )
      )

  def is_over(self):
    """Returns whether a process has ended."""
    return any(process.poll() is not None for process in self._processes)

  def send(self, number, which):
    """Sends a signal to one process; the others learn of it by themselves."""
    self._processes[which].send_signal(number)

  def codes(self):
    """Waits for the processes; returns their exit codes."""
    return [process.wait(PATIENCE) for process in self._processes]

  def errors(self):
    """Returns what was written to stderr, for a message."""
    result = []
    for file in self._errors:
      file.seek(0)
      result.append(file.read().decode(errors="replace")[-1500:])
    return "\n".join(result)

  def steps(self):
    """Returns the steps of whole checkpoints, ascending."""
    return sorted(int(name) for name in self.names() if name.isdecimal())

  def names(self):
    """Returns the names in the folder of checkpoints."""
    try:
      return os.listdir(self.workdir / "checkpoints")
    except FileNotFoundError:
      return []

  def partial_names(self):
    """Returns the names of half-written and half-deleted checkpoints."""
    return [name for name in self.names() if not name.isdecimal()]

  def hold(self, prefix, step):
    """Holds, from now on, each checkpoint of this step or a later one where its name begins so."""
    (self._held / f"{prefix}{step}").touch()

  def let_go(self):
    """Holds none any more."""
    for file in self._held.iterdir():
      file.unlink()

  def wait_until(self, condition):
    """Waits until a condition holds or the run is over."""
    end = time.monotonic() + PATIENCE
    while not condition() and not self.is_over():
      if time.monotonic() > end:
        raise TimeoutError(self.errors())
      time.sleep(0.0005)


def _free_port():
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def last_logged(workdir):
  """Returns the last step of metrics.jsonl."""
  try:
    lines = (workdir / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0
  except OSError:
    return 0


def interrupt(run, how, rng):
  """Interrupts a started run once; returns (the process that got the signal, exit codes)."""
  before = last_logged(run.workdir)
  which = rng.randrange(run.num_processes)
  if how in ("write", "cleanup"):
    which = 0  # the process that writes checkpoints
    _wait_for_a_checkpoint(run, how, rng)
  else:
    # The run waits for the signal: it goes on until the next checkpoint but one.
    run.hold(WRITING, max(run.steps(), default=0) + 10)
    if how == "start":
      time.sleep(rng.uniform(0.05, 2.5))
    else:
      target = before + 5 * rng.randrange(1, 3)
      run.wait_until(lambda: last_logged(run.workdir) >= target)
      time.sleep(rng.uniform(0, 0.05))
  run.send(SIGNALS[how], which)
  run.let_go()
  return which, run.codes()


def _wait_for_a_checkpoint(run, how, rng):
  """Waits until a checkpoint, the next or the one after it, is being written or deleted.

  It stays so until the signal.
  """
  steps = run.steps() or [0]
  later = 10 * rng.randrange(2)
  prefix, step = (WRITING, steps[-1] + 10) if how == "write" else (DELETING, steps[0])
  run.hold(prefix, step + later)
  names = lambda: [name for name in run.names() if name.startswith(prefix)]
  run.wait_until(lambda: any(int(name.removeprefix(prefix)) >= step + later for name in names()))
  time.sleep(rng.uniform(0, 0.02))


class Campaign:
  """Interrupts a run, and compares it with a whole run of the same settings."""

  def __init__(self, whole, broken, rng, say):
    self._whole = whole
    self._broken = broken
    self._rng = rng
    self._say = say
    self.tally = Tally()

  def interrupt(self, how):
    """Starts the run, interrupts it once, and compares its latest checkpoint."""
    before = self._broken.steps()
    self._broken.start()
    which, codes = interrupt(self._broken, how, self._rng)
    is_killed = how in KILLS
    self.tally.kills += is_killed
    self.tally.stops += not is_killed
    self.tally.in_a_write += is_killed and bool(self._broken.partial_names())
    self._check_codes(how, which, codes)
    after = self._broken.steps()
    self.tally.lost_checkpoints += max(before, default=0) > max(after, default=0)
    # A signal may come between two steps that the whole run keeps; then only the end can tell.
    if after and after[-1] in self._whole.steps() and self._differs(after[-1]):
      self.tally.differing_digests += 1
      self._say(f"{how}: step {after[-1]} differs")

  def finish(self):
    """Lets the run finish, and compares all its checkpoints and its metrics."""
    self._broken.start()
    codes = self._broken.codes()
    if set(codes) != {0}:
      self.tally.wrong_exit_codes += 1
      self._say(self._broken.errors())
    with Checkpoints(self._broken.workdir / "checkpoints", read_only=True) as checkpoints:
      for step in checkpoints.steps():
        self.tally.differing_digests += self._differs(step)
    ours = metrics_of(self._broken.workdir)
    theirs = metrics_of(self._whole.workdir)
    num_different = sum(a != b for a, b in zip(ours, theirs, strict=False))
    self.tally.differing_metrics = num_different + abs(len(ours) - len(theirs))
    self.tally.litter = len(self._broken.partial_names())
    self._say(f"{len(theirs)} lines of metrics compared")

  def _check_codes(self, how, which, codes):
    if set(codes) == {0}:  # the signal came too late
      return
    # It may also meet a process whose work is done, and which only waits for the others to end.
    others = {code for number, code in enumerate(codes) if number != which}
    is_done = max(self._broken.steps(), default=0) == self._broken.last_step
    if is_done and others == {0} and codes[which] == -SIGNALS[how]:
      return
    expected = {"TERM": 143, "INT": 130}.get(how, -9)
    is_wrong = codes[which] != expected
    if how in STOPS:
      is_wrong |= set(codes) != {expected}
    is_wrong |= 0 in codes
    if is_wrong:
      self.tally.wrong_exit_codes += 1
      self._say(f"{how}: exit codes {codes}, not {expected}: {self._broken.errors()}")

  def _differs(self, step):
    return digest_of(self._broken.workdir, step) != digest_of(self._whole.workdir, step)


def campaign(folder, kills, stops, seed, devices=1, processes=1, say=print):
  """Runs a campaign in `folder`; returns its Tally."""
  rng = random.Random(seed)
  hows = [KILLS[number % len(KILLS)] for number in range(kills)]
  hows += [STOPS[number % len(STOPS)] for number in range(stops)]
  rng.shuffle(hows)
  steps = max(100, STEPS_PER_INTERRUPTION * len(hows))
  whole = _whole_run(folder / "whole", steps, devices, processes, say)
  broken = Run(folder / "broken", steps, devices, processes)
  run = Campaign(whole, broken, rng, say)
  for number, how in enumerate(hows, 1):
    run.interrupt(how)
    if number % 25 == 0:
      say(f"{number} interruptions, step {max(broken.steps(), default=0)}: {run.tally}")
  run.finish()
  say(str(dict(collections.Counter(hows))))
  return run.tally


def _whole_run(workdir, steps, devices, processes, say):
  """Runs without interruptions; the run must have several epochs and shapes of batches."""
  whole = Run(workdir, steps, devices, processes, keep_checkpoints=10**6)
  whole.start()
  assert set(whole.codes()) == {0}, whole.errors()
  log = (workdir / "log.txt").read_text().splitlines()
  shapes = next(line for line in log if "shapes " in line).rpartition("shapes ")[2]
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    _, meta, _ = checkpoints.read()
  epochs = meta["data"]["epoch"]
  say(f"the run left alone: {steps} updates, {epochs} epochs, shapes {shapes}")
  assert epochs >= 3 and shapes.count("x(") >= 4
  return whole


def main():
  """Prints what a campaign found; exit code 1 if anything went wrong."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  defaults = dict(kills=200, stops=100, seed=1, devices=1, processes=1)
  for name, default in defaults.items():
    parser.add_argument(f"--{name}", type=int, default=default)
  options = vars(parser.parse_args())
  with tempfile.TemporaryDirectory(prefix="faults-") as folder:
    start = time.monotonic()
    os.environ.setdefault("TRANSFORMER_JAX_CACHE", str(pathlib.Path(folder) / "cache"))
    tally = campaign(pathlib.Path(folder), **options)
  seconds = round(time.monotonic() - start)
  print(json.dumps(dict(options, **dataclasses.asdict(tally), seconds=seconds)))
  sys.exit(tally.faults() > 0)


if __name__ == "__main__":
  main()
