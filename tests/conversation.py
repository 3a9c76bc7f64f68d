"""A writer that sends a sentence into a pipe, and the next one only when it has its answer."""

import io
import os
import sys
import threading
import types


def answers_of_a_conversation(monkeypatch, sentences, function):
  """What a writer gets that sends each sentence only when the one before is answered, and closes the pipe after the last."""
  end, other = os.pipe()
  writer = os.fdopen(other, "wb", buffering=0)
  to_send, answers = list(sentences), []
  rescue = threading.Timer(120, writer.close)  # what waits for more would wait for ever

  class Out(io.RawIOBase):
    def write(self, data):
      answers.append((bytes(data), writer.closed))
      writer.write(to_send.pop(0)) if to_send else writer.close()
      return len(data)

  monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=os.fdopen(end, "rb")))
  monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=Out()))
  rescue.start()
  try:
    writer.write(to_send.pop(0))
    function()
  finally:
    rescue.cancel()
  assert not any(was_closed for _, was_closed in answers), (
    "an answer came only when the pipe was closed"
  )
  return [answer for answer, _ in answers]
