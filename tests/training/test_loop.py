"""The loop's book-keeping, with made-up updates: marked steps are handled once, skipped updates or not."""

from types import SimpleNamespace

import pytest

from transformer_jax.config import Config
from transformer_jax.errors import NonFiniteError
from transformer_jax.training import loop


def run(monkeypatch, bad_tries, start=0, reported=None, lines=None, **settings):
  """What the hooks heard, when these tries (counted from 1) are not finite.

  `lines` gets the metrics.
  """
  monkeypatch.setattr(loop, "to_host", lambda tree: tree)
  monkeypatch.setattr(loop, "shard_rows", lambda rows: rows)
  tries, heard = 0, []

  def state_of(step):
    sums = SimpleNamespace(loss=1.0, nll=1.0, source_tokens=1, target_tokens=1)
    return SimpleNamespace(step=step, sums=sums, grad_norm=1.0, skipped=0, in_a_row=0)

  def train_step(state, _):
    nonlocal tries
    tries += 1
    after = state_of(state.step + (tries not in bad_tries))
    after.in_a_row = state.in_a_row + 1 if tries in bad_tries else 0
    return after, SimpleNamespace(step=after.step, skipped_in_a_row=after.in_a_row)

  class Stream:
    position = 0

    def next(self):
      self.position += 1
      return SimpleNamespace(source_BS=0, target_BT=0)

  hooks = loop.Hooks(
    report=lambda metrics: (
      heard.append(("report", metrics["step"])),
      lines is None or lines.append(metrics),
    ),
    evaluate=lambda step, state: heard.append(("evaluate", step)),
    save=lambda step, state, position: heard.append(("save", step, position)),
    should_stop=lambda: False,
    give_up=lambda step, batches: heard.append(("give up", step)),
  )
  config = Config().replace(
    **{**dict(log_every=10, evaluate_every=11, checkpoint_every=10, train_steps=14), **settings}
  )
  state, step, position, _ = loop.run_updates(
    config, state_of(start), Stream(), train_step, lambda state: state, hooks, reported
  )
  assert state.step == step == config.train.train_steps and position == tries
  return heard


def test_marked_steps_in_their_order(monkeypatch):
  assert run(monkeypatch, set()) == [
    ("report", 10),
    ("save", 10, 10),
    ("evaluate", 11),
    ("report", 14),
    ("save", 14, 14),
    ("evaluate", 14),
  ]


@pytest.mark.parametrize("bad", [{11}, {10, 11, 12}, {1}, {14}, {15}, set(range(2, 9))])
def test_skipped_updates_repeat_no_report_and_no_checkpoint(monkeypatch, bad):
  heard = run(monkeypatch, bad)
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
  heard = run(monkeypatch, {1, 2}, log_every=1, train_steps=3, evaluate_every=3)
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
  """Whatever start made them: a run may go on after its end, or with another --log_every.

  A line's sums have one token here.
  """
  lines = []
  run(monkeypatch, set(), start, reported, lines, log_every=10, train_steps=30)
  counted = [line["updates_per_second"] / line["target_tokens_per_second"] for line in lines]
  assert counted == pytest.approx(updates)
