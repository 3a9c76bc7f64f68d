"""Runs the tests as other machines would, and reports what each way took.

    python tests/portability.py [--ways=optimized,avx2,sse4_2,seed,one_thread,four_threads]
        [pytest's arguments]

A way, or several joined by "+", changes how numbers are rounded, or what barely trained models
answer. A test that fails in one of them asks for something that another processor need not give.
Other versions of Python are other environments: `make test VENV=.venv-3.13 PYTHON=python3.13`.
"""

import argparse
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
_OPTIMIZED = "--xla_backend_optimization_level=3"  # the user's; `make test` compiles faster
WAYS = dict(
  optimized=dict(XLA_FLAGS=_OPTIMIZED),
  avx2=dict(XLA_FLAGS=f"{_OPTIMIZED} --xla_cpu_max_isa=AVX2"),
  sse4_2=dict(XLA_FLAGS=f"{_OPTIMIZED} --xla_cpu_max_isa=SSE4_2"),
  seed=dict(TRANSFORMER_JAX_TEST_SEED="7"),
  one_thread=dict(NPROC="1"),
  four_threads=dict(NPROC="4"),
)


def run_way(way: str, arguments: list[str]) -> tuple[bool, str]:
  """Runs pytest in a way of `WAYS`, or in several at once, joined by "+".

  Returns:
    (whether all passed, a line with what it took).
  """
  settings = {}
  for name in way.split("+"):
    settings |= WAYS[name]
  processor_start = _processor_seconds()
  start = time.monotonic()
  done = subprocess.run(
    [sys.executable, "-m", "pytest", "-q", *arguments],
    cwd=ROOT,
    env={**os.environ, **settings},
    check=False,
    stdout=subprocess.PIPE,
    text=True,
  )
  if done.returncode:
    print(done.stdout)
  last_line = done.stdout.strip().splitlines()[-1]
  outcome = re.sub(r" in [\d.:() ]*s.*", "", last_line)
  seconds = _processor_seconds() - processor_start
  wall = time.monotonic() - start
  # The system keeps only the largest of all children, so this is the maximum of the ways so far.
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
  line = (
    f"{way:12} {outcome}; {seconds:.0f} s of processor, {wall:.0f} s, largest process {peak:.2f} GB"
  )
  return done.returncode == 0, line


def _processor_seconds() -> float:
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def main() -> int:
  """Runs the ways one after another; returns 1 if a test failed in one."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--ways", default=",".join(WAYS))
  chosen, arguments = parser.parse_known_args()
  arguments = arguments or ["-n", "2", "--dist", "loadfile", "-m", "not slow"]
  failed = False
  for way in chosen.ways.split(","):
    passed, line = run_way(way, arguments)
    print(line, flush=True)
    failed |= not passed
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
