"""`digest`: one SHA-256 over a run's whole training state, to tell whether two runs are the same to the last bit."""

import hashlib

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir


def digest_of(workdir, step=None):
  """SHA-256 in hex of a checkpoint's state: by default of the latest, or of `step`.

  Raises:
    WorkdirError: there is no run.
    CheckpointError: there is no such checkpoint, or it is damaged.
  """
  folder = Workdir(workdir, primary=False)
  checkpoints = Checkpoints(folder.checkpoints, read_only=True)
  if not checkpoints.steps():
    folder.read_config()
  try:
    arrays, meta, step = checkpoints.read(step)
  finally:
    checkpoints.close()
  return state_digest(arrays, step, meta["data"])


def state_digest(arrays, step, data_position):
  """SHA-256 in hex over names, dtypes, shapes and bytes of `arrays` (name -> numpy array), step and data position."""
  total = hashlib.sha256(json_text([int(step), data_position], sort_keys=True).encode())
  for name in sorted(arrays):
    array = arrays[name]
    total.update(json_text([name, str(array.dtype), array.shape]).encode())
    total.update(array.tobytes())
  return total.hexdigest()
