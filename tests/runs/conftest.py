"""Shared by the tests of runs: programs are traced once for all runs that compute the same."""

import pytest


def remembered(function, key_of):
  """Returns `function`, which is called once for each key; later calls return the same result."""
  results = {}

  def call(*args, **settings):
    key = key_of(*args, **settings)
    if key not in results:
      results[key] = function(*args, **settings)
    return results[key]

  return call


def step_key(config, model, is_poisoned=False):
  """Returns what a TrainStep depends on. Settings that may change in a run are not part of it."""
  from transformer_jax.runs.same_run import CHANGEABLE

  others = {*CHANGEABLE, "init_from", "init_checkpoint"}
  train = {name: value for name, value in vars(config.train).items() if name not in others}
  return str((model, train, config.data.accumulation_steps, is_poisoned))


@pytest.fixture(scope="session", autouse=True)
def _traced_once():
  """Tracing takes most of the time of a tiny run, and a resumed run would trace it all again."""
  from transformer_jax.runs import train, trained_model, validation

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "TrainStep", remembered(train.TrainStep, step_key))
    patch.setattr(train, "make_reset", remembered(train.make_reset, lambda: ()))
    for module, name in (
      (validation, "make_evaluation_step"),
      (validation, "make_decode_batch"),
      (trained_model, "make_decode_batch"),
    ):
      function = remembered(getattr(module, name), lambda *args: str(args))
      patch.setattr(module, name, function)
    yield
