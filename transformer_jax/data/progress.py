"""Progress of what takes long: a bar with the speed and the time left, and one line at the end."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_BAR_AFTER = 2.0  # seconds
_LINE_AFTER = 10.0  # seconds; what is faster is not worth a line of a log
_TOGETHER = 1000  # items that are counted at once

Item = TypeVar("Item")


class Progress:
  """A context that shows how far a work is: `add` counts on.

  The bar is drawn on a terminal only. A line in the end says how long the work took and its speed,
  also where standard error is a file.

  Args:
    what: name of the work.
    total: how much there is to do; None if that is not known, then no time left is shown.
    unit: what is counted.
  """

  def __init__(self, what: str, total: int | None = None, unit: str = "pairs") -> None:
    self._what = what
    self._unit = unit
    self._begin = time.monotonic()
    self._bar = tqdm(
      desc=what,
      total=total,
      unit=f" {unit}",
      unit_scale=True,
      leave=False,
      delay=_BAR_AFTER,
      disable=None,
    )
    self._done = 0

  def __enter__(self) -> "Progress":
    return self

  def add(self, count: int) -> None:
    """Counts what was done since the last call."""
    self._done += count
    self._bar.update(count)

  def __exit__(self, kind: object, *_: object) -> None:
    self._bar.close()
    seconds = time.monotonic() - self._begin
    if kind is None and seconds > _LINE_AFTER:
      speed = self._done / seconds
      line = (
        f"transformer-jax: {self._what}: {self._done:,} {self._unit} in {seconds:,.0f} s, "
        f"{speed:,.0f} a second"
      )
      tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
  """Says in the end how long the block took, if that was long; for work that tells no progress."""
  begin = time.monotonic()
  yield
  seconds = time.monotonic() - begin
  if seconds > _LINE_AFTER:
    tqdm.write(f"transformer-jax: {what}: {seconds:,.0f} s", file=sys.stderr)


def with_progress(
  items: Iterable[Item], what: str, total: int | None = None, unit: str = "pairs"
) -> Iterator[Item]:
  """Yields the items, and shows progress; arguments as in `Progress`."""
  with Progress(what, total, unit) as progress:
    for number, item in enumerate(items, 1):
      yield item
      if number % _TOGETHER == 0:
        progress.add(_TOGETHER)
