"""The training loop: draws batches, dispatches updates; at marked steps reports, saves, evaluates.

It knows no files: what happens at a marked step is passed in.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable

from transformer_jax.errors import NonFiniteError
from transformer_jax.parallel import shard_rows, to_host

# Updates that may be under way before the host waits: enough to keep the devices busy.
_RUN_AHEAD = 2


@dataclasses.dataclass
class Hooks:
  """What the loop calls. `state` is replicated and must not be kept; the data position is that of the last batch used."""

  report: Callable  # (metrics: dict) at every log_every-th step
  save: Callable  # (step, state, data_position), at every checkpoint_every-th step and the last
  # (step, state), at every evaluate_every-th step and the last; after `save`, so that a kill costs
  # no updates
  evaluate: Callable
  should_stop: Callable  # () -> bool, asked before each update
  give_up: Callable  # (step, batches), before NonFiniteError is raised


def run_updates(config, state, stream, train_step, reset_sums, hooks, reported=None):
  """Trains until `train_steps` updates are done or `should_stop`.

  Args:
    config: the Config.
    state: replicated TrainState to go on from.
    stream: has `.next()` -> batch with source_BS, target_BT and the data position after it.
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
  step, position, pending = int(to_host(state.step)), stream.position, collections.deque()
  if reported is None:
    reported = step - step % train.log_every
  clock, handled = _Clock(step, reported), step
  while step < train.train_steps:
    if hooks.should_stop():
      return state, int(to_host(state.step)), position, True
    batches = [stream.next() for _ in range(config.data.accumulation_steps)]
    state, progress = train_step(
      state, [(shard_rows(b.source_BS), shard_rows(b.target_BT)) for b in batches]
    )
    position, step = (
      stream.position,
      step + 1,
    )  # a skipped update is noticed below: until then the step is an upper bound
    pending.append((progress, batches))
    marked = _is_marked(train, step)
    while pending and (marked or len(pending) > _RUN_AHEAD):
      step = _check(train, *pending.popleft(), hooks) + len(pending)
    # A skipped update may lead back to a marked step, whose report and checkpoint are done already.
    if marked and _is_marked(train, step) and step > handled:
      handled = step
      state = _at_marked_step(config, state, step, position, reset_sums, hooks, clock)
  return state, step, position, False


def is_evaluated(train, step):
  """Whether the model is evaluated after this update."""
  return step == train.train_steps or step % train.evaluate_every == 0


def _is_marked(train, step):
  return (
    step == train.train_steps
    or step % train.log_every == 0
    or step % train.evaluate_every == 0
    or step % train.checkpoint_every == 0
  )


def _check(train, progress, batches, hooks):
  """The step that a finished update led to."""
  progress = to_host(progress)
  step, in_a_row = int(progress.step), int(progress.skipped_in_a_row)
  if in_a_row >= train.max_nonfinite_updates:
    hooks.give_up(step, batches)
    raise NonFiniteError(
      f"step {step}",
      f"{in_a_row} updates in a row had a loss or gradient that is not finite",
      "lower --learning_rate_scale or raise --warmup_steps",
    )
  return step


def _at_marked_step(config, state, step, position, reset_sums, hooks, clock):
  """Reports, saves and evaluates what is due at this step; returns the state to go on with."""
  train, is_last = config.train, step == config.train.train_steps
  if is_last or step % train.log_every == 0:
    hooks.report(
      _train_metrics(train, step, to_host((state.sums, state.grad_norm, state.skipped)), clock)
    )
    state = reset_sums(state)
    clock.restart(step)
  with clock.paused():
    if is_last or step % train.checkpoint_every == 0:
      hooks.save(step, state, position)
    if is_evaluated(train, step):
      hooks.evaluate(step, state)
  return state


def _train_metrics(train, step, values, clock):
  sums, grad_norm, skipped = values
  tokens, updates = int(sums.target_tokens), step - clock.reported
  updates_per_second = clock.updates_per_second(step)
  return dict(
    step=step,
    split="train",
    loss=float(sums.loss) / max(tokens, 1),
    nll=float(sums.nll) / max(tokens, 1),
    grad_norm=float(grad_norm),
    skipped_updates=int(skipped),
    source_tokens=int(sums.source_tokens),
    target_tokens=tokens,
    updates_per_second=updates_per_second,
    target_tokens_per_second=tokens / updates * updates_per_second,
  )


class _Clock:
  """Time spent on updates since the last report, at step `reported`, or since this start."""

  def __init__(self, step, reported):
    self.restart(step)
    self.reported = reported

  def restart(self, step):
    self._step, self._start, self.reported = step, time.perf_counter(), step

  @contextlib.contextmanager
  def paused(self):
    """Leaves out the time until the block ends."""
    begin = time.perf_counter()
    yield
    self._start += time.perf_counter() - begin

  def updates_per_second(self, step):
    return (step - self._step) / max(time.perf_counter() - self._start, 1e-9)
