"""`train --profile_steps=10:20`: a trace of some updates, which TensorBoard and Perfetto open, and where their time went."""

import collections
import gzip
import json
import pathlib
import re
import time

import jax

from transformer_jax.errors import WorkdirError

_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="([^"]*)"', re.MULTILINE)
_PARTS = (  # of an instruction's path (module, scope, primitive), from its end: the first that fits says what it belongs to
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
  """A train step that writes a trace of the updates `first` to `last` of this start, counted from 1, and then says where time went.

  `close` says so of fewer updates, where there were no more.

  Args:
    train_step: the TrainStep.
    first, last: updates.
    folder: where the trace goes.
    say: function that takes a line.
  """

  def __init__(self, train_step, first, last, folder, say):
    self._train_step, self._first, self._last, self._folder, self._say = (
      train_step,
      first,
      last,
      folder,
      say,
    )
    self._number, self._begin = 0, 0.0

  def __call__(self, state, batches):
    self._number += 1
    if self._first <= self._number <= self._last:
      self._compile(state, batches)
    if self._number == self._first:
      jax.block_until_ready(state)
      try:
        jax.profiler.start_trace(self._folder)
      except (OSError, RuntimeError) as error:
        raise WorkdirError(self._folder, f"no trace can be written: {error}") from None
      self._begin = time.perf_counter()
    result = self._train_step(state, batches)
    if self._number == self._last:
      self._stop(result)
    return result

  def close(self, state):
    """After the last update, whose result is `state`: ends a trace that has begun, or says that
    there is none."""
    if self._first <= self._number < self._last:
      self._last = self._number
      self._stop(state)
    elif self._number < self._first:
      self._say(
        f"warning: --profile_steps={self._first}:{self._last}: this start made "
        f"{self._number} updates, so there is no trace"
      )

  def _stop(self, result):
    jax.block_until_ready(result)
    seconds = time.perf_counter() - self._begin
    jax.profiler.stop_trace()
    self._report(seconds)

  def _compile(self, state, batches):
    """The programs' texts tell which part of the model an instruction belongs to."""
    for batch in batches:
      if self._train_step.program(batch) is None:
        self._train_step.compile_ahead(state, batch, len(batches) == 1)

  def _report(self, seconds):
    updates = self._last - self._first + 1
    trace = max(
      pathlib.Path(self._folder).glob("plugins/profile/*/*.trace.json.gz"),
      key=lambda path: path.stat().st_mtime,
    )
    self._say(
      f"updates {self._first} to {self._last}: {1000 * seconds / updates:.1f} ms each; trace: {trace}"
    )
    paths = {
      name: path
      for program in self._train_step.programs()
      for name, path in _INSTRUCTION.findall(program.as_text())
    }
    split, busy = split_of(json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"], paths)
    total = sum(split.values()) or 1.0
    for part, spent in split.most_common():
      self._say(f"  {part:24} {100 * spent / total:5.1f}%  {1000 * spent / updates:8.2f} ms")
    self._say(
      f"  of the time {100 * min(1.0, busy / seconds):.0f}% had a device computing; the rest is the host's"
    )


def split_of(events, paths):
  """Where the time of a trace went.

  Args:
    events: of the trace; those with an `hlo_op` are instructions. One inside another on the same thread counts for itself only.
    paths: instruction -> path of modules and primitives, as the programs' texts have it.

  Returns:
    (Counter part of the model -> seconds, summed over threads; seconds in which any instruction ran).
  """
  events = sorted(
    (e for e in events if "hlo_op" in e.get("args", {})), key=lambda e: (e["ts"], -e["dur"])
  )
  split, is_open, end_of_all, busy = collections.Counter(), collections.defaultdict(list), 0.0, 0.0
  for event in events:
    part, start, end = (
      part_of(paths.get(event["args"]["hlo_op"], "")),
      event["ts"],
      event["ts"] + event["dur"],
    )
    stack = is_open[event["pid"], event["tid"]]
    while stack and stack[-1][1] <= start:
      stack.pop()
    if stack:
      split[stack[-1][0]] -= event["dur"] / 1e6
    split[part] += event["dur"] / 1e6
    stack.append((part, end))
    busy += max(0.0, end - max(start, end_of_all)) / 1e6
    end_of_all = max(end_of_all, end)
  return split, busy


def part_of(path):
  """The part of an update that an instruction belongs to, from its path."""
  pieces = re.split(r"[/.]", re.sub(r"(transpose|jvp)\(([^()]*)\)", r"\2", path))
  for piece in reversed(pieces):
    for part, pattern in _PARTS:
      if pattern.fullmatch(piece):
        return part
  return REST
