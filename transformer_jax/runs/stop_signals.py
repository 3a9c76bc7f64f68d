"""SIGTERM, SIGHUP and Ctrl-C during training: finish the update, save, end with 143, 129 or 130."""

import threading
import time
from collections.abc import Callable

from transformer_jax import parallel
from transformer_jax.interrupt import SignalHandling, leave

# Updates between the agreements of several hosts, which must stop after the same update.
_AGREE_EVERY = 10
# Signals within so many seconds count as one: `timeout` sends one to the process and one to its
# group.
_SAME_SIGNAL = 0.25


class StopSignals:
  """A context that, from `begin` on, remembers the first signal; a second one ends the process.

  Before `begin` there is nothing to save, and a signal acts as it does elsewhere.

  Args:
    say: function that prints a line; called when the first signal comes.
  """

  number: int  # of the signal that stops the run, 0 for none

  def __init__(self, say: Callable[[str], None] = lambda message: None) -> None:
    self.number = 0
    self._say = say
    self._handling = SignalHandling(self._remember)
    self._own_number = 0  # of the first signal to this process
    self._own_time = 0.0
    self._num_asked = 0

  def __enter__(self) -> "StopSignals":
    return self

  def begin(self) -> None:
    """Starts to remember signals; called before the first update."""
    self._handling.__enter__()

  def __exit__(self, *_: object) -> None:
    self._handling.__exit__()

  def should_stop(self) -> bool:
    """Returns whether to stop before the next update; the same on all hosts."""
    if parallel.num_processes() == 1:
      return self.number != 0
    self._num_asked += 1
    if self._num_asked % _AGREE_EVERY:
      return False
    agreed = parallel.agree_on(self._own_number)
    self.number = agreed or self.number
    return agreed != 0

  def _remember(self, number: int) -> None:
    now = time.monotonic()
    if self._own_number:
      if now - self._own_time > _SAME_SIGNAL:
        leave(number)
      return
    self._own_time = now
    self._own_number = number
    self.number = number
    message = (
      f"signal {number}: stopping after this update, and saving; a second signal ends it at once"
    )
    # A thread prints it, since the reader of standard error may be slow or gone.
    threading.Thread(target=self._say, args=(message,), daemon=True).start()
