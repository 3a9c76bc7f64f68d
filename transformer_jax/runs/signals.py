"""SIGTERM and Ctrl-C during training: finish the update, save, then end with 143 or 130."""

import signal

from transformer_jax import parallel
from transformer_jax.interrupt import leave

# How often several hosts ask each other, in updates: all must stop after the same one.
_AGREE_EVERY = 10


class StopSignals:
  """While entered, the first SIGTERM or SIGINT is remembered; a second one ends the process at once."""

  def __init__(self):
    self.number = 0  # of the signal that came, 0 for none
    self._asked = 0

  def __enter__(self):
    self._before = {s: signal.signal(s, self._remember) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *_):
    for signal_number, handler in self._before.items():
      signal.signal(signal_number, handler)

  def should_stop(self):
    """Whether to stop before the next update; on several hosts, the same answer on all."""
    if parallel.num_processes() > 1:
      self._asked += 1
      if self._asked % _AGREE_EVERY:
        return False
      self.number = parallel.agree_on(self.number)
    return self.number != 0

  def _remember(self, signal_number, _):
    if self.number:
      leave(signal_number)
    self.number = signal_number
