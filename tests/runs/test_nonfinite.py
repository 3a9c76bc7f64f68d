"""Updates whose gradients are NaN change nothing but the data position and the counts."""

import contextlib
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import flags, metrics_of, tiny_config
from traced_once import remembered, step_key

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import Config
from transformer_jax.data.pipeline import BatchStream
from transformer_jax.errors import NonFiniteError
from transformer_jax.parallel import device_index
from transformer_jax.runs import train as runs_train
from transformer_jax.runs.train import train
from transformer_jax.training import step as training_step
from transformer_jax.training.state import Sums, TrainState, optimizer
from transformer_jax.training.step import TrainStep, apply_gradients, gradient_sums

COUNTS = ("skipped", "skipped_in_a_row")


def nan_gradients(*args):
  """Returns gradients that are NaN on the first device, and the sums as they are."""
  gradients, sums = gradient_sums(*args)
  factor = jnp.where(device_index() == 0, jnp.nan, 1.0)
  return jax.tree.map(lambda gradient: gradient * factor, gradients), sums


class NaNStep(TrainStep):
  """A train step whose gradients are NaN on the first device, which must change nothing on any."""

  def __call__(self, state, batches):
    with pytest.MonkeyPatch.context() as patch:  # while jax traces it, which its first call does
      patch.setattr(training_step, "gradient_sums", nan_gradients)
      return super().__call__(state, batches)


nan_step = remembered(NaNStep, step_key)


class StepWithNaN:
  """A train step whose updates `numbers`, counted from 1, are those of a NaNStep."""

  def __init__(self, train_step, nan_step, numbers):
    self._train_step = train_step
    self._nan_step = nan_step
    self._numbers = numbers
    self._counter = itertools.count(1)

  def __call__(self, state, batches):
    is_nan = next(self._counter) in self._numbers
    return (self._nan_step if is_nan else self._train_step)(state, batches)

  def __getattr__(self, name):
    return getattr(self._train_step, name)


@contextlib.contextmanager
def nan_in(numbers):
  """Makes the gradients of these updates NaN; they count from a run's start, with skipped ones."""
  train_step = runs_train.TrainStep

  def with_nan(config, model):
    return StepWithNaN(train_step(config, model), nan_step(config, model), numbers)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runs_train, "TrainStep", with_nan)
    yield


def state_of(workdir):
  arrays, meta, step = Checkpoints(workdir / "checkpoints", read_only=True).read()
  return (
    {name: array for name, array in arrays.items() if name not in COUNTS},
    arrays["skipped"],
    meta["data"],
    step,
  )


def without_batches(monkeypatch, numbers):
  """Removes these batches, counted from 1, from the training stream."""
  original, taken = BatchStream.next, [0]

  def next_but(self):
    taken[0] += 1
    while taken[0] in numbers:
      original(self)
      taken[0] += 1
    return original(self)

  monkeypatch.setattr(BatchStream, "next", next_but)


def check(numbers, tmp_path, monkeypatch, **settings):
  """Checks that a run with NaN in these updates equals one that never saw their batches."""
  config = tiny_config(train_steps=30, evaluate_every=30, bleu_sentences=0, **settings)
  with nan_in(numbers):
    train(config, tmp_path / "poisoned", ".")
  without_batches(monkeypatch, numbers)
  train(config, tmp_path / "without", ".")
  (state, skipped, position, step), (expected, none, expected_position, expected_step) = (
    state_of(tmp_path / name) for name in ("poisoned", "without")
  )
  assert (int(skipped), int(none)) == (len(numbers), 0) and (position, step) == (
    expected_position,
    expected_step,
  )
  assert state.keys() == expected.keys()
  for name, array in state.items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)
  strip = lambda lines: [
    {k: v for k, v in line.items() if k != "skipped_updates"} for line in lines
  ]
  assert strip(metrics_of(tmp_path / "poisoned")) == strip(metrics_of(tmp_path / "without"))


@pytest.mark.slow
def test_single_steps_and_two_in_a_row(tmp_path, monkeypatch):
  check({1, 7, 8, 25}, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 31, 2))
def test_any_step(number, tmp_path, monkeypatch):
  check({number}, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [{10, 11}, {9, 10, 11}, {20}, {29, 30}, {30}, {2, 4, 6, 8, 10}])
def test_at_marked_steps(numbers, tmp_path, monkeypatch):
  check(numbers, tmp_path, monkeypatch, accumulation_steps=1)


@pytest.mark.slow
def test_too_many_in_a_row_end_the_run_and_leave_the_last_checkpoint(tmp_path):
  config = tiny_config(max_nonfinite_updates=3, train_steps=30)
  with nan_in({13, 14, 15}), pytest.raises(NonFiniteError, match="step 12: 3 updates in a row"):
    train(config, tmp_path / "run", ".")
  _, _, _, step = state_of(tmp_path / "run")
  assert step == 10
  (batches,) = json.loads((tmp_path / "run" / "nonfinite_after_step_12.json").read_text())
  assert len(batches["source"]) == len(batches["target"]) > 1
  train(config, tmp_path / "run", ".")  # goes on from the last good one
  train(config, tmp_path / "whole", ".")
  state, expected = state_of(tmp_path / "run"), state_of(tmp_path / "whole")
  assert state[1:] == expected[1:]
  for name, array in state[0].items():
    np.testing.assert_array_equal(array, expected[0][name], err_msg=name)


def test_finite_gradients_whose_update_is_not_change_nothing():
  """Rows that no token uses have gradient 0, and with an epsilon of 0 Adam divides 0 by 0."""
  config = Config().replace(d_model=4, adam_epsilon=0.0)
  params = {"used": jnp.ones(3), "unused": jnp.ones(3)}
  state = TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=optimizer(config).init(params),
    sums=Sums.zero(),
    grad_norm=jnp.float32(0),
    skipped=jnp.int32(0),
    skipped_in_a_row=jnp.int32(0),
  )
  sums = Sums(jnp.float32(1), jnp.float32(1), jnp.int32(1), jnp.int32(1))
  after = apply_gradients(config, state, {"used": jnp.ones(3), "unused": jnp.zeros(3)}, sums)
  assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (0, 1, 1)
  for name in ("params", "opt_state", "sums"):
    jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
  again = apply_gradients(config, after, {"used": jnp.ones(3), "unused": jnp.ones(3)}, sums)
  assert int(again.step) == 1 and not np.array_equal(again.params["unused"], params["unused"])


@pytest.mark.slow
def test_the_command_ends_with_exit_code_5(tmp_path, capsys):
  settings = flags(max_nonfinite_updates=2, train_steps=6, bleu_sentences=0)
  with nan_in({3, 4}):
    assert command_line(["train", *settings, f"--workdir={tmp_path / 'run'}"]) == 5
  assert "2 updates in a row" in capsys.readouterr().err
