"""Tests of trained models pass with other rounding, and with models from another seed."""

import pathlib

import portability
import pytest

TESTS = pathlib.Path(__file__).parent
# The files with barely trained models: what these answer must not matter.
TRAINED = [
  f"{TESTS / name}"
  for name in (
    "runs",
    "cli/test_streams.py",
    "analysis/heads/test_heads.py",
    "analysis/attention/test_attention.py",
    "decoding",
  )
]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sse4_2", "seed"])
def test_in_another_way(way):
  passed, line = portability.run_way(way, ["-n0", "-m", "not slow", *TRAINED])
  print(line)
  assert passed, line
