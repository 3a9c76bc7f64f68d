"""The time of a run is summed over its starts, by a clock that ticks when it is read."""

import itertools
import json
import os
import signal

import pytest
from tiny_run import tiny_config

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.errors import Interrupted
from transformer_jax.runs import time_spent
from transformer_jax.runs import train as train_module
from transformer_jax.runs.time_spent import TimeSpent
from transformer_jax.runs.train import train

STEPS = dict(log_every=2, evaluate_every=4, checkpoint_every=4, bleu_sentences=0)


@pytest.fixture(autouse=True)
def _ticks(monkeypatch):
  """One second by the clock and two of processor pass between two looks at the time."""
  ticks = itertools.count(100)
  monkeypatch.setattr(time_spent, "_now", lambda: (tick := next(ticks), 2 * tick))


def wall_seconds(lines):
  return [line["wall_seconds"] for line in lines]


def lines_of(workdir):
  return list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))


def meta_of(workdir, step):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.read(step)[1]


def test_a_start_counts_from_its_beginning():
  spent = TimeSpent()
  assert spent.so_far() == dict(wall_seconds=1.0, processor_seconds=2.0)
  assert spent.so_far() == dict(wall_seconds=2.0, processor_seconds=4.0)


def test_it_goes_on_from_the_longest_record():
  spent = TimeSpent()
  records = [dict(wall_seconds=5.0, processor_seconds=50.0, step=4), dict(step=2)]
  spent.go_on_from([*records, dict(wall_seconds=7.0, processor_seconds=49.0)])
  assert spent.so_far() == dict(wall_seconds=8.0, processor_seconds=52.0)
  spent.go_on_from([dict(step=2), dict(wall_seconds=1.0)])
  assert spent.so_far() == {}


def test_lines_and_checkpoints_have_the_time_of_all_starts(tmp_path):
  train(tiny_config(train_steps=4, **STEPS), tmp_path, ".")
  # The report of 2; the report, the checkpoint and the evaluation of 4.
  assert wall_seconds(lines_of(tmp_path)) == [1, 2, 4]
  assert meta_of(tmp_path, 4)["processor_seconds"] == 6
  train(tiny_config(train_steps=8, **STEPS), tmp_path, ".")
  assert wall_seconds(lines_of(tmp_path)) == [1, 2, 4, 5, 6, 8]


@pytest.mark.slow
def test_a_signal_loses_no_time(tmp_path, monkeypatch):
  """It stops after update 5, whose time only the checkpoint has."""
  config = tiny_config(train_steps=8, **{**STEPS, "evaluate_every": 8})
  asked = itertools.count(1)

  def should_stop(self):
    if next(asked) == 6:
      os.kill(os.getpid(), signal.SIGTERM)
    return self.number != 0

  with monkeypatch.context() as patch:
    patch.setattr(train_module.StopSignals, "should_stop", should_stop)
    with pytest.raises(Interrupted):
      train(config, tmp_path, ".")
  assert meta_of(tmp_path, 5)["wall_seconds"] == 4
  train(config, tmp_path, ".")
  assert wall_seconds(lines_of(tmp_path)) == [1, 2, 5, 6, 8]
