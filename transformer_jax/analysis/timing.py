"""Times compiled functions in interleaved rounds; operations and memory are XLA's figures."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

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

  call: Callable[[], Any]  # returns arrays
  flops: float | None  # as XLA counts them; a loop's body is counted once
  peak_bytes: int | None  # arguments, results and intermediate arrays


def compiled(function: Callable[..., Any], *arguments: Any) -> Subject:
  """Compiles `function` for these arguments (arrays or their shapes).

  Peak memory is what XLA plans, so nothing needs to run, and other processes change nothing.
  """
  program = jax.jit(function).lower(*arguments).compile()
  counted = program.cost_analysis() or {}
  return Subject(
    call=lambda: program(*arguments),
    flops=counted.get("flops"),
    peak_bytes=_peak_bytes(program),
  )


def _peak_bytes(program: Any) -> int | None:
  """Returns the memory that XLA plans for a compiled program, None if it does not report it."""
  memory = program.memory_analysis()
  if memory is None:
    return None
  arrays = memory.argument_size_in_bytes + memory.output_size_in_bytes
  return arrays + memory.temp_size_in_bytes - memory.alias_size_in_bytes


def interleaved_timings(subjects: Sequence[Subject], rounds: int, warm_up: int = 1) -> list[Timing]:
  """Times the subjects in turn: each is called once a round, in reverse order every other round.

  A machine that slows down for a while slows all of them, so their ratios stay.
  """
  for _ in range(warm_up):
    for subject in subjects:
      jax.block_until_ready(subject.call())
  seconds: list[list[float]] = [[] for _ in subjects]
  forward = range(len(subjects))
  for number in range(rounds):
    order = forward if number % 2 == 0 else reversed(forward)
    for index in order:
      start = time.perf_counter()
      jax.block_until_ready(subjects[index].call())
      seconds[index].append(time.perf_counter() - start)
  return [Timing(statistics.median(each), min(each), max(each)) for each in seconds]


def matmul_flops_per_second(size: int = 2048, rounds: int = 5, dtype: str = "float32") -> float:
  """Returns the best measured rate of a square matrix product on this machine.

  The utilization of a training run is a percentage of this rate.
  """
  x = jax.numpy.ones((size, size), dtype)
  (timing,) = interleaved_timings([compiled(jax.numpy.matmul, x, x)], rounds)
  return 2 * size**3 / timing.low
