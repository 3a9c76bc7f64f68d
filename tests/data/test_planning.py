"""Plans of epochs that are made ahead are the same, and made once."""

import threading

import pytest

from transformer_jax.data import planning
from transformer_jax.data.planning import EpochPlans


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
  monkeypatch.setattr(planning, "_MANY", 5)


def test_a_plan_is_made_once_in_another_thread():
  made = []

  def plan(epoch):
    made.append((epoch, threading.current_thread() is threading.main_thread()))
    return [(epoch, None)]

  plans = EpochPlans(plan, 5)
  assert plans.of(0) == [(0, None)]
  for _ in range(3):
    plans.make_ahead(1)
  assert plans.of(1) == [(1, None)] and plans.of(2) == [(2, None)]
  assert made == [(0, True), (1, False), (2, True)]


def test_few_pairs_need_no_thread():
  made = []
  EpochPlans(made.append, 4).make_ahead(1)
  assert not made


def test_an_error_comes_when_the_plan_is_asked_for():
  def plan(epoch):
    raise MemoryError(epoch)

  plans = EpochPlans(plan, 5)
  plans.make_ahead(3)
  with pytest.raises(MemoryError, match="3"):
    plans.of(3)
