"""`digest`: a SHA-256 of a run's training state, equal for runs that are equal to the last bit."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.files import StrPath
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir


def digest_of(workdir: StrPath, step: int | None = None) -> str:
  """Returns the SHA-256 in hex of a checkpoint's state: the latest one's by default, or `step`'s.

  Raises:
    WorkdirError: there is no run.
    CheckpointError: there is no such checkpoint, or it is damaged.
  """
  folder = Workdir(workdir, primary=False)
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    if not checkpoints.steps():
      folder.read_config()  # raises if there is no run
    arrays, meta, step = checkpoints.read(step)
  return state_digest(arrays, step, meta["data"])


def state_digest(arrays: Mapping[str, np.ndarray], step: int, data_position: Any) -> str:
  """Returns the SHA-256 in hex of a state.

  It covers names, dtypes, shapes and bytes of `arrays`, the step and the data position.
  """
  head = json_text([int(step), data_position], sort_keys=True)
  return _digest(head.encode(), arrays)


def params_digest(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns the SHA-256 in hex of parameters: of their names, dtypes, shapes and bytes."""
  return _digest(b"", arrays)


def _digest(head: bytes, arrays: Mapping[str, np.ndarray]) -> str:
  total = hashlib.sha256(head)
  for name in sorted(arrays):
    array = arrays[name]
    total.update(json_text([name, str(array.dtype), array.shape]).encode())
    total.update(array.tobytes())
  return total.hexdigest()
