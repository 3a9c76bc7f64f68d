"""A few interruptions of each kind; `make faults` runs many."""

import pytest
from campaign import campaign


@pytest.mark.slow
@pytest.mark.parametrize(
  "kills, stops, devices, processes", [(8, 2, 1, 1), (4, 2, 4, 1), (4, 2, 1, 2)]
)
def test_interruptions_change_no_bit(tmp_path, kills, stops, devices, processes):
  """When signals arrive depends on the machine, so up to three campaigns may be needed for one."""
  for number in range(3):
    folder = tmp_path / str(number)
    folder.mkdir()
    tally = campaign(folder, kills, stops, 1, devices, processes)
    assert (tally.kills, tally.stops) == (kills, stops)
    assert not tally.faults(), tally
    if tally.in_a_write:
      return
  pytest.fail("no interruption of three campaigns fell into the writing of a checkpoint")
