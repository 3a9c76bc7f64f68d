"""Batches in other processes: same results, in order; errors come through; nothing is left."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest
from patience import PATIENCE

from transformer_jax.data import workers
from transformer_jax.data.workers import map_batches
from transformer_jax.errors import DataError


@pytest.fixture(autouse=True)
def two_workers(monkeypatch):
  monkeypatch.setattr(workers, "usable_cores", lambda: 2)
  monkeypatch.setattr(workers, "_ALONE", 2)


def doubled(batch, pause=0.0):
  time.sleep(pause * (batch[0] % 3))
  print("libraries may print")
  return [2 * number for number in batch], os.getpid()


def test_results_come_in_order_from_all_processes():
  batches = [[n, n + 1] for n in range(40)]
  found = list(map_batches(functools.partial(doubled, pause=0.002), iter(batches)))
  assert [result for result, _ in found] == [[2 * n, 2 * n + 2] for n in range(40)]
  processes = [process for _, process in found]
  assert set(processes[:2]) == {os.getpid()} and os.getpid() not in processes[2:]
  assert len(set(processes)) == 3


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_batches(count):
  assert len(list(map_batches(doubled, [[n] for n in range(count)]))) == count


def test_one_core_needs_no_other_process(monkeypatch):
  monkeypatch.setattr(workers, "usable_cores", lambda: 1)
  found = list(map_batches(lambda batch: (batch, os.getpid()), [[n] for n in range(9)]))
  assert [process for _, process in found] == [os.getpid()] * 9


def test_large_batches_block_nobody():
  batches = [[n] * 300_000 for n in range(12)]
  assert [result[0] for result, _ in map_batches(doubled, batches)] == [2 * n for n in range(12)]


def fails_at_seven(batch):
  if batch == [7]:
    raise DataError("line 7", "is wrong", "repair it")
  if batch == [8]:
    raise KeyError("a bug")
  return batch


@pytest.mark.parametrize(
  "numbers, kind, message",
  [
    (range(20), DataError, "line 7: is wrong; repair it"),
    ([1, 2, 3, 8, 4], RuntimeError, "a bug"),
  ],
)
def test_errors_come_through(numbers, kind, message):
  with pytest.raises(kind, match=message):
    list(map_batches(fails_at_seven, [[number] for number in numbers]))


def killed_at_five(batch):
  if batch == [5]:
    os.kill(os.getpid(), signal.SIGKILL)
  return batch


def test_a_killed_process_is_reported():
  with pytest.raises(DataError, match="ended with code -9; if memory ran out"):
    list(map_batches(killed_at_five, [[number] for number in range(20)]))


def test_batches_are_drawn_as_they_are_needed():
  drawn = []

  def batches():
    for number in range(100):
      drawn.append(number)
      yield [number]

  results = map_batches(doubled, batches())
  for _ in range(10):
    next(results)
  assert len(drawn) < 20
  results.close()


_PARENT = """
import itertools, os
from transformer_jax.data import workers
from test_workers import doubled
workers.usable_cores = lambda: 2
for _, process in workers.map_batches(doubled, ([n] for n in itertools.count())):
  if process != os.getpid():
    print(process, flush=True)
"""


def test_no_process_outlives_a_killed_one():
  path = os.pathsep.join(sys.path)
  with subprocess.Popen(
    [sys.executable, "-c", _PARENT],
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, "PYTHONPATH": path},
  ) as parent:
    worker = int(next(line for line in parent.stdout if line[0].isdecimal()))
    parent.kill()
  deadline = time.monotonic() + PATIENCE
  while is_running(worker) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not is_running(worker)


def is_running(process):
  """Returns whether a process runs; one that nobody waits for stays in the list as a zombie."""
  try:
    os.kill(process, 0)
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
      return file.read().rpartition(")")[2].split()[0] != "Z"
  except (ProcessLookupError, FileNotFoundError):
    return False
