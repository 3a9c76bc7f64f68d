"""The tests that look at trained models hold where numbers are rounded otherwise, and with other models."""

import pathlib

import portability
import pytest

TESTS = pathlib.Path(__file__).parent
# The files with models that are trained a little: what these say may not matter.
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
