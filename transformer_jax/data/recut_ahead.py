"""Cuts the training pairs of the next epoch in other processes, while this one trains.

Threads would not do: they would hold Python's lock, which the training loop needs at each update.
A process is started once for each share of the pairs. It reads a line of JSON, then the number of
an epoch a line, and answers each with the bytes of a `recut.Cut`. At the end of its input, which
comes when this process has ended in whatever way, it ends too.
"""

import contextlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import IO

import numpy as np

from transformer_jax.data.bucketing import Lengths, Widths
from transformer_jax.data.encoded import EncodedPairs
from transformer_jax.data.recut import Cut, RecutPairs, Recutter
from transformer_jax.data.tokenizers.folder import tokenizer_of
from transformer_jax.errors import WorkdirError
from transformer_jax.strict_json import json_text

_INT32 = np.dtype(np.int32)


class EpochCuts:
  """The pairs of each epoch, cut anew. The next epoch's are made while this one's are used.

  Args:
    recutter: it says how they are cut.
    max_length: the most tokens of a side.
    num_processes: processes that share the work; the result does not depend on it.
  """

  def __init__(self, recutter: Recutter, max_length: int, num_processes: int = 1) -> None:
    self._recutter = recutter
    self._max_length = max_length
    self._num_processes = num_processes
    self._processes: list[_Process] = []
    self._ahead: int | None = None  # the epoch that is being cut

  def expected_lengths(self) -> tuple[Lengths, Lengths]:
    """Returns about the tokens of each pair's sides; they do not depend on the epoch."""
    return self._recutter.expected_lengths(self._max_length)

  def pairs(self, epoch: int, buckets: Sequence[Widths]) -> RecutPairs:
    """Returns the pairs of an epoch, and starts to cut those of the next.

    Raises:
      WorkdirError: a process that cuts them has ended.
    """
    if not self._processes:
      self._processes = self._start()
    if self._ahead is None:
      self._request(epoch)
    cuts = [process.answer() for process in self._processes]
    if self._ahead != epoch:
      self._request(epoch)
      cuts = [process.answer() for process in self._processes]
    self._request(epoch + 1)
    whole = Cut(*(np.concatenate(parts) for parts in zip(*cuts, strict=True)))
    return RecutPairs(self._recutter.plain, whole, buckets, self._max_length)

  def _start(self):
    edges = np.linspace(0, len(self._recutter.plain), self._num_processes + 1).astype(int)
    shares = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return [_Process(self._recutter, start, end) for start, end in shares]

  def _request(self, epoch):
    for process in self._processes:
      process.request(epoch)
    self._ahead = epoch


class _Process:
  """A process that cuts the pairs from `start` to `end`."""

  def __init__(self, recutter: Recutter, start: int, end: int) -> None:
    self._num_pairs = end - start
    command = [sys.executable, "-m", __name__]
    paths = os.pathsep.join(filter(None, sys.path))
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=dict(os.environ, PYTHONPATH=paths),
      start_new_session=True,  # Ctrl-C is for the process that trains
    )
    weakref.finalize(self, _end, self._process)
    tokenizer = recutter.tokenizer
    files = {name: content.decode("latin-1") for name, content in tokenizer.files().items()}
    work = dict(
      folder=str(recutter.plain.folder),
      kind=tokenizer.kind,
      files=files,
      rate=recutter.rate,
      seed=recutter.seed,
      start=start,
      end=end,
    )
    self._write(json_text(work))

  def request(self, epoch: int) -> None:
    """Asks for the pairs of an epoch."""
    self._write(str(epoch))

  def answer(self) -> Cut:
    """Returns the pairs that were asked for; waits for them."""
    source_lengths = self._read(self._num_pairs)
    target_lengths = self._read(self._num_pairs)
    source = self._read(int(source_lengths.sum()))
    return Cut(source_lengths, target_lengths, source, self._read(int(target_lengths.sum())))

  def _write(self, line):
    assert self._process.stdin is not None
    try:
      self._process.stdin.write(f"{line}\n".encode())
      self._process.stdin.flush()
    except OSError:
      raise self._ended() from None

  def _read(self, count):
    assert self._process.stdout is not None
    content = self._process.stdout.read(count * _INT32.itemsize)
    if len(content) < count * _INT32.itemsize:
      raise self._ended()
    return np.frombuffer(content, _INT32)

  def _ended(self):
    status = self._process.wait()
    return WorkdirError(
      "training data",
      f"the process that cuts the next epoch's words ended with status {status}",
      "start again: the run goes on from its last checkpoint",
    )


def _end(process: subprocess.Popen) -> None:
  """Ends a process, whatever it does, and closes its pipes."""
  process.kill()
  with contextlib.suppress(OSError):
    process.communicate()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
  """Answers requests, as the head of this file says, until there are no more."""
  work = json.loads(requests.readline())
  files = {name: content.encode("latin-1") for name, content in work["files"].items()}
  tokenizer = tokenizer_of(work["kind"], files)
  recutter = Recutter(EncodedPairs(work["folder"]), tokenizer, work["rate"], work["seed"])
  for line in requests:
    for part in recutter.cut(int(line), range(work["start"], work["end"])):
      answers.write(part.tobytes())
    answers.flush()


if __name__ == "__main__":
  try:
    serve(sys.stdin.buffer, sys.stdout.buffer)
  except BrokenPipeError:  # the process that trains has ended
    os._exit(0)  # without the flush that would fail again
