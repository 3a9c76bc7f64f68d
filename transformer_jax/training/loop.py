"""The training loop: draws batches, dispatches updates; at marked steps reports, saves, evaluates.

It knows no files: what happens at a marked step is passed in as `Hooks`.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from transformer_jax.config import Config, TrainConfig
from transformer_jax.data.pipeline import Batch
from transformer_jax.errors import NonFiniteError
from transformer_jax.parallel import split_rows, to_host
from transformer_jax.training.state import TrainState
from transformer_jax.training.step import Progress, ShardedBatch

# Updates in flight before the host waits: enough to keep the devices busy.
_RUN_AHEAD = 2

# The position of the data: {"epoch", "batch"} of the next batch.
Position = dict[str, int]


@runtime_checkable
class Hooks(Protocol):
  """The methods that the loop calls.

  A `state` is replicated and must not be kept. `position` is that of the data: of the first batch
  that was not used yet.
  """

  def report(self, metrics: dict[str, Any], /) -> None:
    """Is called at every log_every-th step."""

  def save(self, step: int, state: TrainState, position: Position, /) -> None:
    """Is called at every checkpoint_every-th step and the last."""

  def evaluate(self, step: int, state: TrainState, /) -> None:
    """Is called at every evaluate_every-th step and the last.

    It comes after `save`, so that a kill costs no updates.
    """

  def should_stop(self) -> bool:
    """Returns whether to stop; it is called before each update."""
    ...

  def give_up(self, step: int, batches: list[Batch], /) -> None:
    """Is called before NonFiniteError is raised, with the batches of the last update."""


@runtime_checkable
class Batches(Protocol):
  """An endless stream of batches, such as `data.pipeline.BatchStream`."""

  @property
  def position(self) -> Position:
    """The position of the next batch."""
    ...

  def next(self) -> Batch:
    """Returns the next batch."""
    ...


def run_updates(
  config: Config,
  state: TrainState,
  stream: Batches,
  train_step: Callable[[TrainState, Sequence[ShardedBatch]], tuple[TrainState, Progress]],
  reset_sums: Callable[[TrainState], TrainState],
  hooks: Hooks,
  reported: int | None = None,
) -> tuple[TrainState, int, Position, bool]:
  """Trains until `train_steps` updates are done or `should_stop`.

  Args:
    config: the Config.
    state: replicated TrainState to go on from.
    stream: the batches.
    train_step, reset_sums: from training.step.
    hooks: the Hooks.
    reported: the step of the last report, since which `state.sums` are summed; by default the last
      multiple of `log_every`.

  Returns:
    (state, step, data position, whether it was stopped early).

  Raises:
    NonFiniteError: `max_nonfinite_updates` updates in a row were not finite.
  """
  train = config.train
  step = int(to_host(state.step))
  position = stream.position
  pending: collections.deque[tuple[Progress, list[Batch]]] = collections.deque()
  if reported is None:
    reported = step - step % train.log_every
  clock = _Clock(step, reported)
  handled = step
  while step < train.train_steps:
    if hooks.should_stop():
      return state, int(to_host(state.step)), position, True
    batches = [stream.next() for _ in range(config.data.accumulation_steps)]
    shards = [(split_rows(batch.source_BS), split_rows(batch.target_BT)) for batch in batches]
    state, progress = train_step(state, shards)
    position = stream.position
    # A skipped update is noticed below. Until then the step is an upper bound.
    step += 1
    pending.append((progress, batches))
    marked = _is_marked(train, step)
    while pending and (marked or len(pending) > _RUN_AHEAD):
      finished, its_batches = pending.popleft()
      step = _check(train, finished, its_batches, hooks) + len(pending)
    # A skipped update does not count, so a marked step can come twice; it is handled once.
    if marked and _is_marked(train, step) and step > handled:
      handled = step
      state = _at_marked_step(config, state, step, position, reset_sums, hooks, clock)
  return state, step, position, False


def is_evaluated(train: TrainConfig, step: int) -> bool:
  """Returns whether the model is evaluated after this update."""
  return step == train.train_steps or step % train.evaluate_every == 0


def _is_marked(train, step):
  """Returns whether to report, save or evaluate after this update."""
  return (
    step == train.train_steps
    or step % train.log_every == 0
    or step % train.evaluate_every == 0
    or step % train.checkpoint_every == 0
  )


def _check(train, progress, batches, hooks):
  """Returns the step after a finished update; raises if too many in a row were skipped."""
  progress = to_host(progress)
  step = int(progress.step)
  in_a_row = int(progress.skipped_in_a_row)
  if in_a_row >= train.max_nonfinite_updates:
    hooks.give_up(step, batches)
    raise NonFiniteError(
      f"step {step}",
      f"{in_a_row} updates in a row had a loss or gradient that is not finite",
      "lower --learning_rate_scale or raise --warmup_steps",
    )
  return step


def _at_marked_step(config, state, step, position, reset_sums, hooks, clock):
  """Reports, saves and evaluates as is due at this step; returns the state to go on with."""
  train = config.train
  is_last = step == train.train_steps
  if is_last or step % train.log_every == 0:
    hooks.report(_train_metrics(step, state, clock))
    state = reset_sums(state)
    clock.restart(step)
  with clock.paused():
    if is_last or step % train.checkpoint_every == 0:
      hooks.save(step, state, position)
    if is_evaluated(train, step):
      hooks.evaluate(step, state)
  return state


def _train_metrics(step, state, clock):
  """Returns the metrics of the updates since the last report."""
  sums, grad_norm, skipped = to_host((state.sums, state.grad_norm, state.skipped))
  target_tokens = int(sums.target_tokens)
  updates = step - clock.reported
  updates_per_second = clock.updates_per_second(step)
  return dict(
    step=step,
    split="train",
    loss=float(sums.loss) / max(target_tokens, 1),
    nll=float(sums.nll) / max(target_tokens, 1),
    grad_norm=float(grad_norm),
    skipped_updates=int(skipped),
    source_tokens=int(sums.source_tokens),
    target_tokens=target_tokens,
    updates_per_second=updates_per_second,
    target_tokens_per_second=target_tokens / updates * updates_per_second,
  )


class _Clock:
  """Measures the speed of updates since the last report, which was at step `reported`."""

  def __init__(self, step: int, reported: int) -> None:
    self.restart(step)
    self.reported = reported

  def restart(self, step: int) -> None:
    """Starts to measure again, at a step that has been reported."""
    self._step = step
    self._start = time.perf_counter()
    self.reported = step

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out the time until the block ends."""
    begin = time.perf_counter()
    yield
    self._start += time.perf_counter() - begin

  def updates_per_second(self, step: int) -> float:
    """Returns the speed since the last restart."""
    return (step - self._step) / max(time.perf_counter() - self._start, 1e-9)
