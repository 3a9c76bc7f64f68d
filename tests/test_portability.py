"""Tests of trained models pass with other rounding, and with models from another seed."""

import pathlib

import portability
import pytest

# Tests with barely trained models: what these answer must not matter.
TRAINED = (
  "runs",
  "cli/test_streams.py",
  "analysis/heads/test_heads.py",
  "analysis/attention/test_attention.py",
  "decoding",
)


@pytest.mark.slow
def test_other_instructions_and_another_seed():
  """In one run of the tests; `make test-portability` runs all of them in each way."""
  folder = pathlib.Path(__file__).parent
  arguments = ["-n0", "-m", "not slow", *(f"{folder / name}" for name in TRAINED)]
  passed, line = portability.run_way("sse4_2+seed", arguments)
  print(line)
  assert passed, line
