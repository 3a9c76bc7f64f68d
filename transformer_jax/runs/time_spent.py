"""The time that a run has taken, summed over its starts."""

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

_NAMES = ("wall_seconds", "processor_seconds")


class TimeSpent:
  """The time of a run, counted in each start from where this is made.

  Processor time is the user and system time of this process and of its children that have ended.
  What a start did between its last record and a kill is not counted.
  """

  def __init__(self) -> None:
    self._begin = _now()
    self._before: tuple[float, ...] | None = (0.0, 0.0)

  def go_on_from(self, records: Iterable[Mapping[str, Any]]) -> None:
    """Adds the time of earlier starts: the longest that a line of metrics or a checkpoint records.

    If none does, as older versions did not, the time of the run is not known from here on.
    """
    known = [record for record in records if all(name in record for name in _NAMES)]
    self._before = (
      tuple(max(record[name] for record in known) for name in _NAMES) if known else None
    )

  def so_far(self) -> dict[str, float]:
    """Returns wall_seconds and processor_seconds; {} if the time of earlier starts is not known."""
    if self._before is None:
      return {}
    times = zip(_NAMES, self._before, self._begin, _now(), strict=True)
    return {name: before + now - begin for name, before, begin, now in times}


def _now() -> tuple[float, float]:
  times = os.times()
  processor = times.user + times.system + times.children_user + times.children_system
  return time.perf_counter(), processor
