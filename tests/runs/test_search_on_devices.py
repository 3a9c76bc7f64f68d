"""The same search in stages on one device, on four simulated ones, and on two processes."""

import json
import pathlib

import pytest
from simulated_devices import lines_of, start, start_two

SCRIPT = pathlib.Path(__file__).with_name("search_on_devices.py")


def answers(process):
  """Waits for the script's end and returns (tokens, scores, which are finished)."""
  return list(zip(*map(json.loads, lines_of(process)), strict=True))


def assert_same(process, expected):
  tokens, scores, are_finished = answers(process)
  assert (tokens, are_finished) == (expected[0], expected[2])
  assert scores == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.slow
def test_devices_and_processes_give_the_same_answers():
  on_one_device = answers(start(SCRIPT, 1))
  assert len(on_one_device[0]) == 100 and len({str(tokens) for tokens in on_one_device[0]}) > 10
  assert_same(start(SCRIPT, 4), on_one_device)
  for process in start_two(SCRIPT, 2):
    assert_same(process, on_one_device)
