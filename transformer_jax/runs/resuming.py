"""Makes the state that `train` starts from: a new one, or that of the run's latest checkpoint."""

from typing import Any

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.data.pipeline import BatchStream
from transformer_jax.errors import CheckpointError, ConfigError
from transformer_jax.runs.initialization import Record, read_record, source_parameters
from transformer_jax.runs.parts import RunParts
from transformer_jax.runs.same_run import check_same_settings
from transformer_jax.runs.validation import score_settings
from transformer_jax.training.state import TrainState, initial_state
from transformer_jax.workdir.folder import whole_settings


def begin(
  run: RunParts, on_corrupt: str, allow_device_change: bool
) -> tuple[TrainState, BatchStream, int, Record | None]:
  """Initializes the training state, or restores the latest checkpoint.

  Args:
    run: the parts of the run.
    on_corrupt: "refuse" a damaged checkpoint, or go back to the "previous" one.
    allow_device_change: accept a checkpoint that was trained on another number of devices.

  Returns:
    (state, stream of training batches, the last step that metrics.jsonl reports, the record of the
    run whose parameters this one began with).

  Raises:
    CheckpointError, ConfigError: the checkpoint is damaged, lost, or of another run.
  """
  if not run.checkpoints.steps():
    _check_nothing_is_lost(run)
    run.folder.cut_metrics(0)
    state, record = _first_state(run)
    return state, run.prepared.stream_from(None, parallel.own_rows_of_update), 0, record
  shapes = jax.eval_shape(lambda: initial_state(run.config, run.model))
  like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  state, meta, step = run.checkpoints.restore(like, on_corrupt=on_corrupt)
  _check_same_run(run, meta, step)
  if not allow_device_change:
    _check_same_devices(meta, step)
  for error in run.checkpoints.passed_over:
    run.folder.log(
      f"warning: {error.where}: {error.problem}; went back to step {step}, "
      "and renamed the damaged one to damaged-*"
    )
  run.folder.cut_metrics(step)
  run.time.go_on_from([meta, *run.folder.read_metrics()])
  reported = meta["reported"] if "reported" in meta else _guess_reported(run, meta, step)
  run.folder.log(f"resumed at step {step}")
  stream = run.prepared.stream_from(meta["data"], parallel.own_rows_of_update)
  return state, stream, reported, read_record(run.folder)


def _first_state(run: RunParts) -> tuple[TrainState, Record | None]:
  """Returns the state of step 0, with random or another run's parameters, and their record."""
  if not run.config.train.init_from:
    return jax.jit(lambda: initial_state(run.config, run.model))(), None
  params, record = source_parameters(run)
  return jax.jit(lambda params: initial_state(run.config, run.model, params))(params), record


def _guess_reported(run: RunParts, meta: dict[str, Any], step: int) -> int:
  """Returns the last reported step, for an old checkpoint that does not contain it."""
  reported = run.folder.reported_step()
  if reported is None:
    return step - step % meta["config"]["log_every"]
  return reported


def _check_nothing_is_lost(run: RunParts) -> None:
  """Refuses to start from step 0 if there must have been a checkpoint.

  The first one is on disk before its step is evaluated, and before the third one's step is
  reported.

  Raises:
    CheckpointError: the checkpoints are gone.
  """
  every = run.config.train.checkpoint_every
  if run.folder.has_config():
    every = run.folder.read_config()["checkpoint_every"]
  lines = run.folder.read_metrics()
  last = max((line["step"] for line in lines), default=0)
  evaluated = [line["step"] for line in lines if line.get("split") == "valid"]
  if last > 2 * every or any(step % every == 0 for step in evaluated):
    raise CheckpointError(
      run.folder.checkpoints,
      f"holds no checkpoint, but metrics.jsonl reaches step {last}",
      "restore the checkpoints, or start anew: in another --workdir, or here after you move "
      "metrics.jsonl away",
    )
  if lines:
    run.folder.log(
      "warning: there is no checkpoint yet, so the run starts anew; metrics.jsonl "
      f"had reached step {last}"
    )


def _check_same_run(run: RunParts, meta: dict[str, Any], step: int) -> None:
  """Compares a checkpoint with the settings and the data of this start.

  Raises:
    ConfigError: the settings differ.
    CheckpointError: the training text differs.
  """
  stored = whole_settings(meta["config"], f"step {step}")
  check_same_settings(run.config, stored, run.folder.path)
  if meta["data_fingerprint"] != run.prepared.fingerprint:
    raise CheckpointError(
      f"step {step}",
      "the training data or the tokenizer has changed since this checkpoint",
      "restore them, or start anew in another --workdir",
    )
  train_steps = run.config.train.train_steps
  if step > train_steps:
    raise ConfigError(
      f"--train_steps={train_steps}",
      f"the run in {run.folder.path} is at step {step} already",
      f"give at least {step}",
    )
  _warn_of_new_scores(run, meta, stored, step)


def _warn_of_new_scores(
  run: RunParts, meta: dict[str, Any], stored: dict[str, Any], step: int
) -> None:
  """Logs a warning if scores from here on are not comparable with those before."""
  flat = run.config.to_flat()
  changed = [f"--{name}" for name in score_settings(run.config) if flat[name] != stored[name]]
  fingerprint = run.prepared.valid_fingerprint
  if meta.get("valid_fingerprint", fingerprint) != fingerprint:
    changed.append("the validation text")
  if changed:
    run.folder.log(
      f"warning: {' and '.join(changed)} changed after step {step}: scores from "
      "here on are not compared with earlier ones"
    )


def _check_same_devices(meta: dict[str, Any], step: int) -> None:
  """Refuses a checkpoint that was trained on another number of devices.

  Raises:
    CheckpointError: gives both numbers.
  """
  before, now = meta["num_devices"], parallel.num_devices()
  if before != now:
    raise CheckpointError(
      f"step {step}",
      f"was trained on {before} devices, but there are {now} here",
      "use the same number, or --allow_device_change (dropout then differs from an "
      "uninterrupted run)",
    )
