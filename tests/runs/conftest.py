"""Shared by the tests of runs: programs are traced once for all runs that compute the same."""

import pytest
from traced_once import remembered, step_key


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
