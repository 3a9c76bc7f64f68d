"""A few interruptions of each kind; `make faults` runs many."""

import pytest
from campaign import campaign


@pytest.mark.slow
@pytest.mark.parametrize(
  "kills, stops, devices, processes", [(8, 2, 1, 1), (4, 2, 4, 1), (4, 2, 1, 2)]
)
def test_interruptions_change_no_bit(tmp_path, kills, stops, devices, processes):
  tally = campaign(tmp_path, kills, stops, 1, devices, processes)
  assert (tally.kills, tally.stops) == (kills, stops)
  assert not tally.faults(), tally
  assert tally.in_a_write
