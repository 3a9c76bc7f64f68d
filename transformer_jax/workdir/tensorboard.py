"""The metrics of a run in TensorBoard's format."""

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from transformer_jax.files import StrPath, as_workdir_error


class TensorBoard:
  """Writes lines of metrics as scalars `split/name`.

  If an earlier process wrote the same or later steps, TensorBoard discards them.
  """

  def __init__(self, folder: StrPath, primary: bool = True) -> None:
    self._folder = pathlib.Path(folder)
    self._primary = primary
    self._writer: Any = None

  def write(self, metrics: Mapping[str, Any]) -> None:
    """Writes and flushes the numbers of one line of metrics.

    Raises:
      WorkdirError: the events cannot be written.
    """
    if not self._primary:
      return
    from tensorboardX.proto import event_pb2, summary_pb2  # noqa: PLC0415  training only

    events: Any = event_pb2  # protobuf makes its classes at run time
    summaries: Any = summary_pb2
    values = [
      summaries.Summary.Value(tag=f"{metrics['split']}/{name}", simple_value=value)
      for name, value in metrics.items()
      if name != "step" and type(value) in (int, float)
    ]
    summary = summaries.Summary(value=values)
    step = metrics["step"]
    now = time.time()
    with as_workdir_error(self._folder):
      if self._writer is None:
        self._writer = self._open()
        start = events.SessionLog(status=events.SessionLog.START)
        self._writer.write_event(events.Event(wall_time=now, step=step, session_log=start))
      self._writer.write_event(events.Event(wall_time=now, step=step, summary=summary))
      self._writer.flush()

  def _open(self) -> Any:
    # Not SummaryWriter: its thread dies on a full disk, and then its queue blocks forever.
    from tensorboardX.event_file_writer import EventsWriter  # noqa: PLC0415  training only

    self._folder.mkdir(parents=True, exist_ok=True)
    return EventsWriter(str(self._folder / "events"), f".{os.getpid()}")

  def close(self) -> None:
    """Closes the file of events.

    Raises:
      WorkdirError: its last part cannot be written.
    """
    if self._writer is not None:
      with as_workdir_error(self._folder):
        self._writer.close()
      self._writer = None
