"""The metrics of a run as TensorBoard reads them."""

import os
import pathlib
import time

from transformer_jax.files import as_workdir_error


class TensorBoard:
  """Writes lines of metrics as scalars `split/name`; what an earlier process wrote after the first step is void."""

  def __init__(self, folder, primary=True):
    self._folder, self._primary, self._writer = pathlib.Path(folder), primary, None

  def write(self, metrics):
    """Writes the numbers of one line of metrics, at once."""
    if not self._primary:
      return
    from tensorboardX.proto import event_pb2, summary_pb2

    values = [
      summary_pb2.Summary.Value(tag=f"{metrics['split']}/{name}", simple_value=value)
      for name, value in metrics.items()
      if name != "step" and type(value) in (int, float)
    ]
    step, now = metrics["step"], time.time()
    with as_workdir_error(self._folder):
      if self._writer is None:
        self._writer = self._open()
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(event_pb2.Event(wall_time=now, step=step, session_log=start))
      self._writer.write_event(
        event_pb2.Event(wall_time=now, step=step, summary=summary_pb2.Summary(value=values))
      )
      self._writer.flush()

  def _open(self):
    # Not SummaryWriter: its thread dies on a full disk, and then its queue blocks for ever.
    from tensorboardX.event_file_writer import EventsWriter

    self._folder.mkdir(parents=True, exist_ok=True)
    return EventsWriter(str(self._folder / "events"), f".{os.getpid()}")

  def close(self):
    """Closes the file of events."""
    if self._writer is not None:
      with as_workdir_error(self._folder):
        self._writer.close()
      self._writer = None
