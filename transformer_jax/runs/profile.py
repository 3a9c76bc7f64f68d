"""`train --profile_steps=10:20`: a trace of some updates, for TensorBoard or Perfetto."""

import collections
import gzip
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from transformer_jax.errors import WorkdirError
from transformer_jax.training.state import TrainState
from transformer_jax.training.step import Progress, ShardedBatch, TrainStep

_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="([^"]*)"', re.MULTILINE)
# The parts of an update. An instruction's path (modules, scopes, primitive) is searched from its
# end for a name that fits; the first pattern that fits it counts.
_PARTS = (
  ("dropout masks", re.compile(r"rng_bit_generator|random_\w+|dropout")),
  ("optimizer", re.compile(r"optimizer")),
  ("logits and loss", re.compile(r"loss|.*logits")),
  ("attention's projections", re.compile(r"query|key|value|out")),
  ("attention", re.compile(r".*attention")),
  ("feed-forward", re.compile(r"feed_forward|inner|outer")),
  ("norms and residuals", re.compile(r".*norm")),
  ("embeddings", re.compile(r".*(embedding|positions).*")),
)
REST = "other"


class ProfiledSteps:
  """A train step that traces some updates and then logs where their time went.

  Args:
    train_step: the TrainStep.
    first, last: the updates of this start to trace, counted from 1.
    folder: where the trace is written.
    say: function that takes a line.
  """

  def __init__(
    self,
    train_step: TrainStep,
    first: int,
    last: int,
    folder: pathlib.Path,
    say: Callable[[str], None],
  ) -> None:
    self._train_step = train_step
    self._first = first
    self._last = last
    self._folder = folder
    self._say = say
    self._number = 0  # of the latest update
    self._start = 0.0  # time, in seconds

  def __call__(
    self, state: TrainState, batches: Sequence[ShardedBatch]
  ) -> tuple[TrainState, Progress]:
    self._number += 1
    if self._first <= self._number <= self._last:
      self._compile(state, batches)
    if self._number == self._first:
      self._begin(state)
    result = self._train_step(state, batches)
    if self._number == self._last:
      self._stop(result)
    return result

  def close(self, state: TrainState) -> None:
    """Ends a trace that is still open, or warns that there is none.

    Called after the last update, whose result is `state`.
    """
    if self._first <= self._number < self._last:
      self._last = self._number
      self._stop(state)
    elif self._number < self._first:
      self._say(
        f"warning: --profile_steps={self._first}:{self._last}: this start made "
        f"{self._number} updates, so there is no trace"
      )

  def _compile(self, state: TrainState, batches: Sequence[ShardedBatch]) -> None:
    """Compiles ahead, since a program's text names the part that an instruction belongs to."""
    for batch in batches:
      self._train_step.compile_ahead(state, [batch], len(batches))

  def _begin(self, state: TrainState) -> None:
    jax.block_until_ready(state)
    try:
      jax.profiler.start_trace(self._folder)
    except (OSError, RuntimeError) as error:
      raise WorkdirError(self._folder, f"no trace can be written: {error}") from None
    self._start = time.perf_counter()

  def _stop(self, result: Any) -> None:
    jax.block_until_ready(result)
    seconds = time.perf_counter() - self._start
    jax.profiler.stop_trace()
    self._report(seconds)

  def _report(self, seconds: float) -> None:
    """Logs the time of the updates, and its split over the parts of the model."""
    updates = self._last - self._first + 1
    traces = self._folder.glob("plugins/profile/*/*.trace.json.gz")
    trace = max(traces, key=lambda path: path.stat().st_mtime)
    self._say(
      f"updates {self._first} to {self._last}: {1000 * seconds / updates:.1f} ms each; "
      f"trace: {trace}"
    )
    texts = [program.as_text() or "" for program in self._train_step.programs()]
    programs = [dict(_INSTRUCTION.findall(text)) for text in texts]
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    split, busy = split_of(events, programs)
    total = sum(split.values()) or 1.0
    for part, spent in split.most_common():
      self._say(f"  {part:24} {100 * spent / total:5.1f}%  {1000 * spent / updates:8.2f} ms")
    share = min(1.0, busy / seconds)
    self._say(f"  a device was computing {100 * share:.0f}% of the time; the rest is the host's")


def split_of(
  events: Iterable[Mapping[str, Any]], programs: Sequence[Mapping[str, str]]
) -> tuple[collections.Counter[str], float]:
  """Returns where the time of a trace went.

  Args:
    events: events of the trace; those with an `hlo_op` are instructions. The time of an instruction
      inside another one on the same thread counts for the inner one only.
    programs: for each program, instruction -> path of modules and primitives, from its text.

  Returns:
    (Counter part of the model -> seconds, summed over threads; seconds in which any instruction
    ran).
  """
  instructions = [event for event in events if "hlo_op" in event.get("args", {})]
  instructions.sort(key=lambda event: (event["ts"], -event["dur"]))
  paths_of_run = _programs_of_runs(instructions, programs)
  split = collections.Counter()
  open_on_thread = collections.defaultdict(list)  # (process, thread) -> [(part, end)]
  busy, latest_end = 0.0, 0.0
  for event in instructions:
    arguments = event["args"]
    part = part_of(paths_of_run[_run_of(arguments)].get(arguments["hlo_op"], ""))
    start = event["ts"]
    end = start + event["dur"]
    seconds = event["dur"] / 1e6
    stack = open_on_thread[event["pid"], event["tid"]]
    # The kernels of a GPU's stream overlap by a fraction of a microsecond, but not by half.
    while stack and stack[-1][1] <= (start + end) / 2:
      stack.pop()
    if stack:
      outer_part, _ = stack[-1]
      split[outer_part] -= seconds
    split[part] += seconds
    stack.append((part, end))
    busy += max(0.0, end - max(start, latest_end)) / 1e6
    latest_end = max(latest_end, end)
  return split, busy


def _programs_of_runs(
  instructions: Iterable[Mapping[str, Any]], programs: Sequence[Mapping[str, str]]
) -> dict[Any, Mapping[str, str]]:
  """Returns run -> its program: the one of `programs` that has most of its instructions.

  A trace does not name the program, and programs have instructions of the same name.
  """
  names_of_run = collections.defaultdict(set)
  for event in instructions:
    names_of_run[_run_of(event["args"])].add(event["args"]["hlo_op"])
  return {
    run: max(programs, key=lambda paths: len(names & paths.keys()), default={})
    for run, names in names_of_run.items()
  }


def _run_of(arguments: Mapping[str, Any]) -> Any:
  """Returns what is the same for all instructions of a run; on a GPU, of a program.

  There an instruction has a number of 64 bits, of which the upper half is the program's.
  """
  if "unique_hlo_op_id" in arguments:
    return int(arguments["unique_hlo_op_id"]) >> 32
  return arguments.get("run_id")


def part_of(path: str) -> str:
  """Returns the part of an update that an instruction belongs to, from its path."""
  without_transforms = re.sub(r"(transpose|jvp)\(([^()]*)\)", r"\2", path)
  for piece in reversed(re.split(r"[/.]", without_transforms)):
    for part, pattern in _PARTS:
      if pattern.fullmatch(piece):
        return part
  return REST
