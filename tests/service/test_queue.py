"""Requests that wait together are answered together, and each gets its own results."""

import asyncio
import threading

import pytest

from transformer_jax.service.problem import Problem
from transformer_jax.service.queue import Queue


class Recorder:
  """Doubles numbers, records the calls, and waits at the gate before it answers."""

  def __init__(self):
    self.calls = []
    self.gate = threading.Event()
    self.has_begun = threading.Event()

  def __call__(self, key, items):
    self.calls.append((key, items))
    self.has_begun.set()
    assert self.gate.wait(60)
    if "bad" in items:
      raise ValueError("bad")
    return [2 * item for item in items]


def run(scenario, max_waiting=10, max_items=4):
  """Runs scenario(queue, recorder) beside the queue; returns the recorder."""
  recorder = Recorder()

  async def main():
    queue = Queue(recorder, max_waiting, max_items)
    answering = asyncio.create_task(queue.run())
    await asyncio.wait_for(scenario(queue, recorder), 60)
    answering.cancel()

  asyncio.run(main())
  return recorder


async def begun(queue, recorder):
  """Returns a request that occupies the queue's thread."""
  first = asyncio.create_task(queue.ask("first", [0]))
  await asyncio.to_thread(recorder.has_begun.wait, 60)
  return first


def test_what_waits_with_one_key_is_one_call():
  async def scenario(queue, recorder):
    first = await begun(queue, recorder)
    asked = [("a", [1, 2]), ("b", [3]), ("a", [4]), ("a", [5, 6]), ("a", [7])]
    others = [asyncio.create_task(queue.ask(*each)) for each in asked]
    await asyncio.sleep(0)
    assert len(queue) == 5
    recorder.gate.set()
    assert await first == [0]
    assert await asyncio.gather(*others) == [[2, 4], [6], [8], [10, 12], [14]]

  calls = run(scenario).calls
  # At most four items a call; [5, 6] does not fit, [7] does.
  assert calls == [("first", [0]), ("a", [1, 2, 4, 7]), ("b", [3]), ("a", [5, 6])]


def test_a_request_that_is_larger_than_a_call_is_one_by_itself():
  async def scenario(queue, recorder):
    recorder.gate.set()
    assert await queue.ask("a", list(range(9))) == list(range(0, 18, 2))

  assert len(run(scenario).calls) == 1


def test_too_many_are_refused_and_the_others_answered():
  async def scenario(queue, recorder):
    first = await begun(queue, recorder)
    others = [asyncio.create_task(queue.ask("a", [number])) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as caught:
      await queue.ask("a", [3])
    assert caught.value.status == 503
    recorder.gate.set()
    assert await asyncio.gather(first, *others) == [[0], [0], [2]]

  run(scenario, max_waiting=2)


def test_who_gives_up_is_not_answered():
  async def scenario(queue, recorder):
    first = await begun(queue, recorder)
    with pytest.raises(TimeoutError):
      await asyncio.wait_for(queue.ask("a", [1]), 0.05)
    assert len(queue) == 0
    with pytest.raises(TimeoutError):
      await asyncio.wait_for(first, 0.05)  # it is being answered already
    recorder.gate.set()
    assert await queue.ask("b", [2]) == [4]

  assert run(scenario).calls == [("first", [0]), ("b", [2])]


def test_an_error_reaches_those_who_asked_and_no_one_else():
  async def scenario(queue, recorder):
    recorder.gate.set()
    with pytest.raises(ValueError, match="bad"):
      await queue.ask("a", ["bad"])
    assert await queue.ask("a", [1]) == [2]

  run(scenario)
