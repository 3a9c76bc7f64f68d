"""Reads the parameters of another run that a run begins with (`init_from`), and keeps a record.

The record, in config.json, has where the parameters are from and their SHA-256. If a run starts
again before its first checkpoint, it takes the same parameters or ends with an error.
"""

import pathlib
from typing import Any

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.checkpoints.leaves import named_leaves
from transformer_jax.errors import CheckpointError
from transformer_jax.runs.build import parameter_shapes
from transformer_jax.runs.digest import params_digest
from transformer_jax.runs.parts import RunParts
from transformer_jax.training.state import part_in_use
from transformer_jax.workdir.folder import Workdir

# A record: {"workdir": absolute path, "step": of its checkpoint, "params_sha256": hex}.
Record = dict[str, Any]

_HEX_DIGITS = 7  # digits of a SHA-256 that fit an int32


def read_record(folder: Workdir) -> Record | None:
  """Returns the record of the run in a workdir; None if it began with random parameters.

  Raises:
    ConfigError: config.json is damaged.
  """
  return folder.read_initialized_from() if folder.has_config() else None


def source_parameters(run: RunParts) -> tuple[Any, Record]:
  """Returns (parameters as numpy arrays, their record) of the run that `init_from` names.

  Every process of a run reads them.

  Raises:
    CheckpointError: the checkpoint is missing, damaged, or does not fit the model; or it is not
      what this run, or another of its processes, began with.
  """
  train = run.config.train
  before = read_record(run.folder)
  name = before["step"] if before else train.init_checkpoint
  folder = Workdir(train.init_from, primary=False)
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    step = checkpoints.named_step(name if name in ("best", "last") else int(name))
    settings = folder.read_config() if folder.has_config() else {}
    part = part_in_use(settings.get("ema_decay", 0.0))
    params = checkpoints.restore_params(parameter_shapes(run.model), step, part)
  where = str(pathlib.Path(train.init_from).absolute())
  record = dict(workdir=where, step=step, params_sha256=params_digest(dict(named_leaves(params))))
  if before and before["params_sha256"] != record["params_sha256"]:
    raise CheckpointError(
      f"{folder.checkpoints}/{step}",
      "has other parameters than those that this run began with",
      "restore it, or start anew in another --workdir",
    )
  _check_same_in_all_processes(record, train.init_from)
  return params, record


def _check_same_in_all_processes(record: Record, init_from: str) -> None:
  """Raises a CheckpointError in all processes of the run unless all read the same parameters."""
  number = int(record["params_sha256"][:_HEX_DIGITS], 16)
  largest, smallest = parallel.agree_on(number), -parallel.agree_on(-number)
  if largest != smallest:
    raise CheckpointError(
      f"--init_from={init_from}",
      "the processes of this run read different parameters there",
      "give all of them the same run, and train it no further meanwhile",
    )
