"""Tests of trained models pass with other rounding, and with models from another seed."""

import pathlib

import portability
import pytest

TESTS = pathlib.Path(__file__).parent
# The files in which barely trained models answer: what they say must not matter. All tests in all
# ways are `make test-portability`.
TRAINED = [
  f"{TESTS / name}"
  for name in (
    "runs/test_evaluate.py",
    "runs/test_parse.py",
    "runs/test_trained_model.py",
    "runs/test_translate.py",
    "cli/test_streams.py",
    "decoding/test_search_with_model.py",
  )
]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sse4_2", "seed"])
def test_in_another_way(way):
  passed, line = portability.run_way(way, ["-n0", "-m", "not slow", *TRAINED])
  print(line)
  assert passed, line
