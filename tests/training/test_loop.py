"""The loop's bookkeeping, with made-up updates: marked steps are handled once, skipped or not."""

from typing import Any

import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.data.pipeline import Batch
from transformer_jax.errors import NonFiniteError
from transformer_jax.training import loop
from transformer_jax.training.state import Sums, TrainState
from transformer_jax.training.step import Progress


def state_at(step, in_a_row=0):
  """Returns a state without parameters whose sums are those of one token."""
  sums = Sums(loss=1.0, nll=1.0, source_tokens=1, target_tokens=1)
  return TrainState(
    step=step,
    params={},
    opt_state=(),
    sums=sums,
    grad_norm=1.0,
    skipped=0,
    skipped_in_a_row=in_a_row,
  )


class MadeUpUpdates:
  """A train step; tries in `bad_tries`, counted from 1, are not finite."""

  def __init__(self, bad_tries):
    self.tries = 0
    self._bad_tries = bad_tries

  def __call__(self, state, shards):
    self.tries += 1
    if self.tries in self._bad_tries:
      after = state_at(state.step, state.skipped_in_a_row + 1)
    else:
      after = state_at(state.step + 1)
    return after, Progress(after.step, after.skipped_in_a_row)


class MadeUpBatches:
  """A stream whose position counts the batches."""

  def __init__(self):
    self._number = 0

  @property
  def position(self):
    return dict(epoch=0, batch=self._number)

  def next(self):
    self._number += 1
    tokens = np.ones((1, 1), np.int32)
    return Batch(tokens, tokens)


class Heard:
  """Hooks that note what they are called with."""

  def __init__(self):
    self.events: list[tuple] = []
    self.lines: list[dict[str, Any]] = []

  def report(self, metrics):
    self.events.append(("report", metrics["step"]))
    self.lines.append(metrics)

  def save(self, step, state, position):
    self.events.append(("save", step, position["batch"]))

  def evaluate(self, step, state):
    self.events.append(("evaluate", step))

  def should_stop(self):
    return False

  def give_up(self, step, batches):
    self.events.append(("give up", step))


def run(monkeypatch, bad_tries, start=0, reported=None, **settings):
  """Returns the Heard of a run in which these tries, counted from 1, are not finite."""
  monkeypatch.setattr(loop, "to_host", lambda tree: tree)
  monkeypatch.setattr(loop, "split_rows", lambda rows: rows[None])
  defaults = dict(log_every=10, evaluate_every=11, checkpoint_every=10, train_steps=14)
  config = Config().replace(**{**defaults, **settings})
  heard = Heard()
  train_step = MadeUpUpdates(bad_tries)
  state, step, position, _ = loop.run_updates(
    config,
    state_at(start),
    MadeUpBatches(),
    train_step,
    lambda state: state,
    heard,
    reported,
  )
  assert state.step == step == config.train.train_steps
  assert position["batch"] == train_step.tries
  return heard


def test_marked_steps_in_their_order(monkeypatch):
  assert run(monkeypatch, set()).events == [
    ("report", 10),
    ("save", 10, 10),
    ("evaluate", 11),
    ("report", 14),
    ("save", 14, 14),
    ("evaluate", 14),
  ]


@pytest.mark.parametrize("bad", [{11}, {10, 11, 12}, {1}, {14}, {15}, set(range(2, 9))])
def test_skipped_updates_repeat_no_report_and_no_checkpoint(monkeypatch, bad):
  heard = run(monkeypatch, bad).events
  assert [event[:2] for event in heard] == [
    ("report", 10),
    ("save", 10),
    ("evaluate", 11),
    ("report", 14),
    ("save", 14),
    ("evaluate", 14),
  ]
  saved = {event[1]: event[2] for event in heard if event[0] == "save"}
  for step, position in saved.items():
    assert position - sum(number <= position for number in bad) == step, (
      "data position and step belong together"
    )


def test_a_skip_before_the_first_line_of_every_step(monkeypatch):
  heard = run(monkeypatch, {1, 2}, log_every=1, train_steps=3, evaluate_every=3).events
  assert [step for event, step, *_ in heard if event == "report"] == [1, 2, 3]


def test_too_many_in_a_row_give_up(monkeypatch):
  with pytest.raises(NonFiniteError, match="step 4: 3 updates in a row"):
    run(monkeypatch, {5, 6, 7, 8}, max_nonfinite_updates=3)


@pytest.mark.parametrize(
  "start, reported, updates",
  [
    (0, None, [10, 10, 10]),
    (15, None, [10, 10]),
    (15, 15, [5, 10]),
    (13, 10, [10, 10]),
    (20, 20, [10]),
    (17, 14, [6, 10]),
    (5, 0, [10, 10, 10]),
  ],
)
def test_speeds_are_of_the_updates_since_the_last_report(start, reported, updates, monkeypatch):
  """Whichever start made them: a run may go on after its end, or with another --log_every.

  A line's sums have one token here.
  """
  heard = run(monkeypatch, set(), start, reported, log_every=10, train_steps=30)
  counted = [line["updates_per_second"] / line["target_tokens_per_second"] for line in heard.lines]
  assert counted == pytest.approx(updates)
