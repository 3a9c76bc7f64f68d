"""A writer that sends a sentence into a pipe, and the next one only when it has its answer."""

import io
import os
import sys
import threading
import types
from collections.abc import Callable, Sequence

from patience import PATIENCE


def answers_of_a_conversation(
  monkeypatch, sentences: Sequence[bytes], function: Callable[[], object]
) -> list[bytes]:
  """Runs `function` on the standard input and output of a writer; returns its answers.

  The writer sends each sentence only when the one before is answered, and closes the pipe after
  the last answer.
  """
  reading_end, writing_end = os.pipe()
  writer = os.fdopen(writing_end, "wb", buffering=0)
  to_send = list(sentences)
  answers = []
  # A command that waits for more than was sent would hang.
  rescue = threading.Timer(PATIENCE, writer.close)

  class Out(io.RawIOBase):
    def write(self, data):
      answers.append((bytes(data), writer.closed))
      if to_send:
        writer.write(to_send.pop(0))
      else:
        writer.close()
      return len(data)

  monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=os.fdopen(reading_end, "rb")))
  monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=Out()))
  rescue.start()
  try:
    writer.write(to_send.pop(0))
    function()
  finally:
    rescue.cancel()
  for _, was_closed in answers:
    assert not was_closed, "an answer came only when the pipe was closed"
  return [answer for answer, _ in answers]
