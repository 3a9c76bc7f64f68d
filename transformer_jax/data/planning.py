"""Plans of epochs, made in a thread before they are needed: with many pairs it takes seconds."""

import concurrent.futures
import threading
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

EpochPlan = list[tuple[int, Int[np.ndarray, " rows"]]]  # as `bucketing.plan_epoch` returns it

_MANY = 1_000_000  # pairs: fewer are planned in some hundredths of a second


class EpochPlans:
  """The plans of epochs, one at a time.

  Args:
    plan: function from the number of an epoch to its plan, pure, so a thread may call it. numpy
      shuffles without the lock that Python's threads share: training goes on meanwhile.
    num_pairs: how many pairs are planned.
  """

  def __init__(self, plan: Callable[[int], EpochPlan], num_pairs: int) -> None:
    self._plan = plan
    self._is_slow = num_pairs >= _MANY
    self._ahead: dict[int, concurrent.futures.Future[EpochPlan]] = {}

  def of(self, epoch: int) -> EpochPlan:
    """Returns the plan of an epoch; waits for it if it is being made."""
    ahead = self._ahead.pop(epoch, None)
    return ahead.result() if ahead else self._plan(epoch)

  def make_ahead(self, epoch: int) -> None:
    """Begins to make a plan that takes long, unless it was begun; returns at once."""
    if not self._is_slow or epoch in self._ahead:
      return
    self._ahead[epoch] = future = concurrent.futures.Future()
    # A daemon, since nobody need wait for it when the process ends.
    threading.Thread(target=self._make, args=(epoch, future), daemon=True).start()

  def _make(self, epoch: int, future: concurrent.futures.Future[EpochPlan]) -> None:
    try:
      future.set_result(self._plan(epoch))
    except BaseException as error:
      future.set_exception(error)
