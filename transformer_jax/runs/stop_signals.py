"""SIGTERM, SIGHUP and Ctrl-C during training: finish the update, save, end with 143, 129 or 130."""

import threading
import time

from transformer_jax import parallel
from transformer_jax.interrupt import SignalHandling, leave

# How often several hosts ask each other, in updates: all must stop after the same one.
_AGREE_EVERY = 10
# Seconds within which a signal counts once: `timeout` sends its own to the process and to the
# process's group.
_TWICE = 0.25


class StopSignals:
  """From `begin` on, while entered, the first signal is remembered; a second one leaves at once.

  Before `begin` there is nothing to save, and a signal does what it does elsewhere.

  Args:
    say: function that takes a line, for when the first one comes.
  """

  def __init__(self, say=lambda message: None):
    self.number = 0  # of the signal that the run is stopped by, 0 for none
    self._say, self._handling = say, SignalHandling(self._remember)
    self._came, self._when = 0, 0.0  # this process's own signal
    self._asked = 0

  def __enter__(self):
    return self

  def begin(self):
    """The first update is about to be made."""
    self._handling.__enter__()

  def __exit__(self, *_):
    self._handling.__exit__()

  def should_stop(self):
    """Whether to stop before the next update; on several hosts, the same answer on all."""
    if parallel.num_processes() > 1:
      self._asked += 1
      if self._asked % _AGREE_EVERY:
        return False
      agreed = parallel.agree_on(self._came)
      self.number = agreed or self.number
      return agreed != 0
    return self.number != 0

  def _remember(self, number):
    now = time.monotonic()
    if self._came and now - self._when > _TWICE:
      leave(number)
    if not self._came:
      self.number, self._came, self._when = number, number, now
      words = (
        f"signal {number}: stopping after this update, and saving; a second signal ends it at once"
      )
      # In a thread, as whoever reads may be slow, or gone.
      threading.Thread(target=self._say, args=(words,), daemon=True).start()
