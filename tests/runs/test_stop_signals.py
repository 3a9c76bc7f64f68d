"""`StopSignals`: the first signal is remembered and reported, a second one ends the process."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest
from patience import PATIENCE

from transformer_jax.interrupt import SIGNALS
from transformer_jax.runs import stop_signals as signals_module
from transformer_jax.runs.stop_signals import StopSignals


@pytest.fixture
def left(monkeypatch):
  """Returns a list of the numbers that `leave` is called with."""
  numbers = []
  monkeypatch.setattr(signals_module, "leave", numbers.append)
  return numbers


def test_before_it_begins_a_signal_does_what_it_does_elsewhere(left):
  before = [signal.getsignal(number) for number in SIGNALS]
  with StopSignals() as signals:
    assert [signal.getsignal(number) for number in SIGNALS] == before
    signals.begin()
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.should_stop() and signals.number == signal.SIGTERM
  assert [signal.getsignal(number) for number in SIGNALS] == before and not left


@pytest.mark.parametrize("seconds, expected", [(0.01, []), (3.0, [signal.SIGTERM])])
def test_a_second_signal_leaves_unless_it_is_the_first_again(seconds, expected, left, monkeypatch):
  """`timeout` sends its signal twice at once."""
  now = [100.0]
  monkeypatch.setattr(signals_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
  with StopSignals() as signals:
    signals.begin()
    os.kill(os.getpid(), signal.SIGTERM)
    now[0] += seconds
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.should_stop()
  assert left == expected


def test_the_first_signal_is_reported():
  said, heard = [], threading.Event()
  with StopSignals(lambda line: (said.append(line), heard.set())) as signals:
    signals.begin()
    assert not signals.should_stop() and not said
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard.wait(PATIENCE)
  assert said == [
    "signal 15: stopping after this update, and saving; a second signal ends it at once"
  ]


def test_a_signal_that_is_ignored_stays_so():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with StopSignals() as signals:
      signals.begin()
      os.kill(os.getpid(), signal.SIGINT)
      assert not signals.should_stop()
  finally:
    signal.signal(signal.SIGINT, before)


def test_another_process_signal_is_no_first_one_of_this(left, monkeypatch):
  """All stop together, and this host's own signal after that does not count as a second one."""
  monkeypatch.setattr(signals_module.parallel, "num_processes", lambda: 2)
  monkeypatch.setattr(signals_module.parallel, "agree_on", lambda own: max(own, signal.SIGTERM))
  with StopSignals() as signals:
    signals.begin()
    assert [signals.should_stop() for _ in range(10)] == [False] * 9 + [True]
    os.kill(os.getpid(), signal.SIGTERM)
  assert signals.number == signal.SIGTERM and not left
