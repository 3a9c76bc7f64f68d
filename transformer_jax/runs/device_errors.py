"""Turns errors of devices and of other processes into errors that name a remedy."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.config import Config
from transformer_jax.data.pipeline import BatchStream
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.training.step import TrainStep

_SMALLER_BATCHES = (
  "lower it, and raise --accumulation_steps in proportion, or lower --max_length, or make the "
  "model smaller"
)


def compile_updates(config: Config, train_step: TrainStep, state: Any, stream: BatchStream) -> None:
  """Compiles the update for the largest shape, and for the others beside it if there are cores.

  Raises:
    ConfigError: batches of the largest shape cannot fit; it names --batch_tokens and the shape.
  """
  shapes = sorted(stream.shapes(), key=lambda shape: sum(shape[1:]), reverse=True)
  batches = []
  for rows, *widths in shapes:
    sides = (np.zeros((rows, width), np.int32) for width in widths)
    source, target = (parallel.shard_rows(side, parallel.own_rows_of_update) for side in sides)
    batches.append((source, target))
  needed = train_step.compile_ahead(state, batches, config.data.accumulation_steps)
  free = parallel.free_memory()
  if needed is not None and free is not None and needed > free:
    rows, *widths = shapes[0]
    raise ConfigError(
      f"--batch_tokens={config.data.batch_tokens}",
      f"a batch of {rows} x ({widths[0]} + {widths[1]}) positions needs {needed / 1e9:.1f} GB of "
      f"a device, but only {free / 1e9:.1f} GB are free",
      _SMALLER_BATCHES,
    )


@contextlib.contextmanager
def naming_batch_tokens(batch_tokens: int) -> Iterator[None]:
  """A context that turns lack of device memory into a ConfigError that names the flag to lower."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
      raise
    raise ConfigError(
      f"--batch_tokens={batch_tokens}", "a device does not have enough memory", _SMALLER_BATCHES
    ) from None


@contextlib.contextmanager
def naming_lost_processes(workdir: pathlib.Path) -> Iterator[None]:
  """A context that turns a failed sum over processes, when one has ended, into a WorkdirError."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    # jax reports a ValueError for sums on CPUs only; any other ValueError is our own.
    is_ours = isinstance(error, ValueError) and "Gloo" not in str(error)
    if parallel.num_processes() == 1 or is_ours:
      raise
    raise WorkdirError(
      workdir,
      f"another process of the run has ended, or cannot be reached: {error}",
      "log.txt names it; start all processes again, and the run resumes",
    ) from None
