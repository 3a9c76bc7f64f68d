"""Measuring compiled functions: time in interleaved rounds, operations and memory as XLA counts them."""

import dataclasses
import statistics
import time

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
  """Seconds of one call: the median of the rounds, the fastest and the slowest."""

  median: float
  low: float
  high: float


@dataclasses.dataclass
class Subject:
  """A compiled function with its arguments, ready to be timed."""

  call: object  # () -> arrays
  flops: float | None  # as XLA counts them; a loop's body is counted once
  peak_bytes: int | None  # arguments, results and intermediate arrays


def compiled(function, *arguments):
  """`function` compiled for its arguments, as a Subject.

  Peak memory is what XLA plans for, so it needs no run and no other process disturbs it.
  """
  program = jax.jit(function).lower(*arguments).compile()
  counted, memory = program.cost_analysis() or {}, program.memory_analysis()
  peak = (
    None
    if memory is None
    else (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
    )
  )
  return Subject(lambda: program(*arguments), counted.get("flops"), peak)


def interleaved_timings(subjects, rounds, warm_up=1):
  """Times Subjects in turn, one call each a round, every other round backwards; a list of Timings.

  A machine that slows down for a while slows them all, so their ratios stay.
  """
  for _ in range(warm_up):
    for subject in subjects:
      jax.block_until_ready(subject.call())
  seconds = [[] for _ in subjects]
  for number in range(rounds):
    order = range(len(subjects)) if number % 2 == 0 else reversed(range(len(subjects)))
    for index in order:
      start = time.perf_counter()
      jax.block_until_ready(subjects[index].call())
      seconds[index].append(time.perf_counter() - start)
  return [Timing(statistics.median(s), min(s), max(s)) for s in seconds]


def matmul_flops_per_second(size=2048, rounds=5, dtype="float32"):
  """The best rate of a square matrix product here: what the use of the machine is measured against."""
  x = jax.numpy.ones((size, size), dtype)
  (timing,) = interleaved_timings([compiled(jax.numpy.matmul, x, x)], rounds)
  return 2 * size**3 / timing.low
