"""Applies a function to batches on all cores, in order.

Each worker is a Python process of its own, this file, that gets pickled batches on its standard
input and answers on its standard output. It is not forked: jax has threads by then. It ends when
its input ends, so none outlives this process, however that ends.
"""

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import IO, Any, TypeVar

from transformer_jax.errors import DataError, TransformerJaxError
from transformer_jax.machine import usable_cores

_ALONE = 20  # batches that are done here before other processes are worth their start
_WAITING = 2  # batches that wait for each worker

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def map_batches(function: Callable[[Batch], Result], batches: Iterable[Batch]) -> Iterator[Result]:
  """Yields the result of each batch, in order; few batches are in memory at a time.

  Args:
    function: it can be pickled, and so can batches and results.
    batches: they are drawn as they are needed.

  Raises:
    TransformerJaxError: what `function` raises of this class.
    DataError: a worker was killed.
  """
  batches = iter(batches)
  num_workers = usable_cores() or 1
  for number, batch in enumerate(batches, 1):
    yield function(batch)
    if number == _ALONE and num_workers > 1:
      break
  following = next(batches, None)
  if following is None:
    return
  with _Workers(function, num_workers) as workers:
    waiting: collections.deque[Future[Result]] = collections.deque([workers.submit(following)])
    for batch in batches:
      waiting.append(workers.submit(batch))
      if len(waiting) > _WAITING * num_workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


class _Workers:
  """A context with worker processes; a thread for each exchanges batches with it."""

  def __init__(self, function: Callable[[Any], Any], count: int) -> None:
    self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    self._workers = [_Worker(function) for _ in range(count)]
    for worker in self._workers:
      self._free.put(worker)
    self._threads = ThreadPoolExecutor(count)

  def submit(self, batch: Any) -> Future:
    """Returns the coming result of a batch."""
    return self._threads.submit(self._exchange, batch)

  def _exchange(self, batch: Any) -> Any:
    worker = self._free.get()
    try:
      return worker.answer(batch)
    finally:
      self._free.put(worker)

  def __enter__(self) -> "_Workers":
    return self

  def __exit__(self, kind: object, *_: object) -> None:
    if kind is not None:
      for worker in self._workers:
        worker.kill()
    self._threads.shutdown(cancel_futures=True)
    for worker in self._workers:
      worker.end()


class _Worker:
  """A worker process, seen from here."""

  def __init__(self, function: Callable[[Any], Any]) -> None:
    # It finds the same modules, whatever made them be found here.
    path = os.pathsep.join(filter(None, sys.path))
    self._process = subprocess.Popen(
      [sys.executable, "-m", __name__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env={**os.environ, "PYTHONPATH": path},
    )
    assert self._process.stdin and self._process.stdout
    self._batches = _connection(self._process.stdin, writable=True)
    self._answers = _connection(self._process.stdout, writable=False)
    self._process.stdin.close()
    self._process.stdout.close()
    self._send(function)

  def answer(self, batch: Any) -> Any:
    """Returns the function's result of a batch, or raises its error."""
    self._send(batch)
    try:
      error, result = self._answers.recv()
    except (EOFError, OSError):
      raise self._ended() from None
    if error:
      kind, *message = error
      raise kind(*message)
    return result

  def _send(self, content: Any) -> None:
    try:
      self._batches.send(content)
    except BrokenPipeError:
      raise self._ended() from None

  def _ended(self) -> DataError:
    """Returns the error for a process that has ended too early."""
    return DataError(
      "encoding text",
      f"one of its processes ended with code {self._process.wait()}",
      "if memory ran out (code -9), give it fewer cores: taskset -c 0",
    )

  def kill(self) -> None:
    """Ends the process at once."""
    self._process.kill()

  def end(self) -> None:
    """Ends the process, which has no work left, and waits for that."""
    self._batches.close()
    self._process.wait()
    self._answers.close()


def _connection(file: IO[bytes], writable: bool) -> Connection:
  """Returns a connection, which sends and receives pickled objects, over a copy of a pipe's end."""
  return Connection(os.dup(file.fileno()), readable=not writable, writable=writable)


def _work() -> None:
  """Answers batches from standard input until it ends; this is the worker process."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the first process
  batches = _connection(sys.stdin.buffer, writable=False)
  answers = _connection(sys.stdout.buffer, writable=True)
  # What a library prints would spoil the answers, or be said once more for each worker.
  sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
  with contextlib.suppress(EOFError, OSError):  # whoever waited for an answer may be gone
    function = batches.recv()
    while True:
      answers.send(_result(function, batches.recv()))
  os._exit(0)


def _result(function: Callable[[Any], Any], batch: Any) -> tuple[tuple | None, Any]:
  """Returns (None, result), or (class and arguments of an error, None)."""
  try:
    return None, function(batch)
  except TransformerJaxError as error:
    return (type(error), error.where, error.problem, error.remedy), None
  except Exception:  # a bug: its traceback is shown by the first process
    return (RuntimeError, traceback.format_exc()), None


if __name__ == "__main__":
  _work()
