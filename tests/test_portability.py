"""Tests of trained models pass with other rounding, and with models from another seed."""

import pathlib

import portability
import pytest

# Files with barely trained models: what these answer must not matter.
FILES = (
  "runs/test_translate.py",
  "runs/test_trained_model.py",
  "runs/test_evaluate.py",
  "runs/test_parse.py",
  "analysis/heads/test_heads.py",
  "analysis/attention/test_attention.py",
  "decoding/test_search_with_model.py",
)


@pytest.mark.slow
def test_other_instructions_and_another_seed():
  """In one run of the tests; `make test-portability` runs all of them in each way."""
  folder = pathlib.Path(__file__).parent
  arguments = ["-n0", "-m", "not slow", *(f"{folder / name}" for name in FILES)]
  passed, line = portability.run_way("sse4_2+seed", arguments)
  print(line)
  assert passed, line
