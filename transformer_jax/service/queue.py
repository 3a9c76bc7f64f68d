"""Requests wait for the model here; those that ask for the same at one time share batches."""

import asyncio
import collections
import concurrent.futures
import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from transformer_jax.service.problem import Problem

# (key, items) -> their results, in order
Answer = Callable[[Any, list[Any]], Sequence[Any]]


class Queue:
  """Hands what waits to `answer`, which runs in a thread of its own, one call at a time.

  While a call runs, others wait. The next call takes the oldest, and all that have the same key.

  Args:
    answer: function (key, items) -> results.
    max_waiting: requests that may wait.
    max_items: items of a call. A request is not split: one with more is a call by itself.
  """

  def __init__(self, answer: Answer, max_waiting: int, max_items: int) -> None:
    self._answer = answer
    self._max_waiting = max_waiting
    self._max_items = max_items
    self._waiting: collections.deque[_Request] = collections.deque()
    self._has_come = asyncio.Event()
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "model")

  def __len__(self) -> int:
    """Returns the number of requests that wait."""
    return len(self._waiting)

  async def ask(self, key: Hashable, items: Sequence[Any]) -> list[Any]:
    """Returns the results of the items.

    Who is cancelled while waiting asks for nothing any more.

    Raises:
      Problem: with status 503, too many wait.
      Exception: whatever `answer` raises.
    """
    if len(self._waiting) >= self._max_waiting:
      raise Problem(503, "the service", f"{len(self._waiting)} requests wait", "ask again later")
    request = _Request(key, list(items))
    self._waiting.append(request)
    self._has_come.set()
    try:
      return await request.results
    except asyncio.CancelledError:
      with contextlib.suppress(ValueError):  # it is being answered already
        self._waiting.remove(request)
      raise

  async def run(self) -> None:
    """Answers until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
      await self._has_come.wait()
      if not self._waiting:
        self._has_come.clear()
        continue
      group = self._next_group()
      items = [item for request in group for item in request.items]
      try:
        results = await loop.run_in_executor(self._thread, self._answer, group[0].key, items)
      except Exception as error:  # belongs to those who asked
        for request in group:
          request.fail(error)
        continue
      found = iter(results)
      for request in group:
        request.succeed([next(found) for _ in request.items])

  def _next_group(self) -> list["_Request"]:
    """Takes the oldest request, and as many others with its key as fit into a call."""
    group = [self._waiting.popleft()]
    room = self._max_items - len(group[0].items)
    for request in list(self._waiting):
      if request.key == group[0].key and len(request.items) <= room:
        self._waiting.remove(request)
        group.append(request)
        room -= len(request.items)
    return group


class _Request:
  """Items of one caller."""

  def __init__(self, key: Hashable, items: list[Any]) -> None:
    self.key = key
    self.items = items
    self.results: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

  def succeed(self, results: list[Any]) -> None:
    """Hands out the results, unless the caller has gone."""
    if not self.results.done():
      self.results.set_result(results)

  def fail(self, error: Exception) -> None:
    """Raises the error at the caller, unless it has gone."""
    if not self.results.done():
      self.results.set_exception(error)
