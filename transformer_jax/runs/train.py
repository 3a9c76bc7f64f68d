"""`train`: trains the model of a configuration in a workdir; the same call again resumes.

This file has the order of the steps. `same_run` and `resuming` decide where a start begins,
`hooks` does what is due at marked steps, `device_errors` names a remedy.
"""

import contextlib
import dataclasses
import sys

import jax
from tqdm import tqdm

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config, check_sums, refuse_unread
from transformer_jax.data.tokenizers.folder import save_tokenizer
from transformer_jax.errors import Interrupted
from transformer_jax.files import StrPath
from transformer_jax.machine import hardware
from transformer_jax.roll_call import Place
from transformer_jax.runs.build import build_model
from transformer_jax.runs.device_errors import (
  compile_updates,
  naming_batch_tokens,
  naming_lost_processes,
)
from transformer_jax.runs.hooks import RunHooks
from transformer_jax.runs.parts import RunParts
from transformer_jax.runs.prepare import Prepared, prepare
from transformer_jax.runs.profile import ProfiledSteps
from transformer_jax.runs.resuming import begin
from transformer_jax.runs.same_run import agreed_config, check_same_tokenizer, stored_settings
from transformer_jax.runs.startup_report import origin_lines, overview
from transformer_jax.runs.stop_signals import StopSignals
from transformer_jax.runs.time_spent import TimeSpent
from transformer_jax.runs.validation import Validation
from transformer_jax.runs.watchdog import Watchdog
from transformer_jax.training.loop import run_updates
from transformer_jax.training.step import TrainStep, make_reset
from transformer_jax.workdir.folder import Start, Workdir
from transformer_jax.workdir.lock import WorkdirLock


def train(
  config: Config,
  workdir: StrPath,
  data_root: StrPath,
  *,
  on_corrupt: str = "refuse",
  allow_device_change: bool = False,
  place: Place | None = None,
  profile_steps: tuple[int, int] | None = None,
  check_data: bool = False,
) -> None:
  """Trains until `train_steps`, resuming from the workdir's latest checkpoint if there is one.

  Args:
    config: the Config.
    workdir: folder of the run.
    data_root: folder that relative data paths start from.
    on_corrupt: "refuse" a damaged checkpoint, or go back to the "previous" one.
    allow_device_change: resume on another number of devices (dropout then differs from an
      uninterrupted run).
    place: the process's place among those of the run, if there are several.
    profile_steps: (first, last) update of this start, counted from 1, to write a trace of.
    check_data: read the data even if its files seem unchanged (`by_content` of `prepare`).

  Raises:
    Interrupted: SIGTERM, SIGHUP or Ctrl-C; the state is saved.
    TransformerJaxError: any other expected error, named.
  """
  time = TimeSpent()
  options = _Options(on_corrupt, allow_device_change, profile_steps)
  check_sums(config)
  _start_up(config, place)
  if not Workdir(workdir, primary=False).has_config():
    refuse_unread(config)
  folder = Workdir(workdir, primary=parallel.is_primary())
  with (
    Watchdog(workdir, parallel.process_number(), parallel.num_processes()),
    naming_lost_processes(folder.path),
    WorkdirLock(workdir, primary=parallel.is_primary()),
    StopSignals(_say) as signals,
  ):
    config, prepared = _prepare(config, folder, data_root, check_data)
    model = build_model(config, prepared.task)
    with _open_checkpoints(config, folder) as checkpoints:
      _train(RunParts(config, folder, prepared, model, checkpoints, time), signals, options)


def _start_up(config: Config, place: Place | None) -> None:
  """Joins the processes of the run, if there are several."""
  joined = place._asdict() if place else {}
  parallel.start_up(**joined, deterministic=config.train.deterministic)


def _prepare(
  config: Config, folder: Workdir, data_root: StrPath, check_data: bool
) -> tuple[Config, Prepared]:
  """Returns the configuration to train with and its data; they agree with the run in the folder."""
  stored = stored_settings(folder)
  config = agreed_config(config, stored, folder.path)
  if stored:
    prepared = prepare(config, data_root, folder.tokenizer, by_content=check_data)
    check_same_tokenizer(config, stored, prepared, data_root)
  else:
    prepared = prepare(config, data_root, by_content=check_data)
    if parallel.is_primary():
      save_tokenizer(prepared.task.tokenizer, folder.tokenizer)
  return config, prepared


def _open_checkpoints(config: Config, folder: Workdir) -> Checkpoints:
  return Checkpoints(
    folder.checkpoints,
    config.train.keep_checkpoints,
    config.train.keep_best,
    primary=parallel.is_primary(),
  )


@dataclasses.dataclass(frozen=True)
class _Options:
  """The options of this start that `train` describes."""

  on_corrupt: str
  allow_device_change: bool
  profile_steps: tuple[int, int] | None


def _train(run: RunParts, signals: StopSignals, options: _Options) -> None:
  """Initializes or restores, trains, and saves on an early stop.

  `state` is rebound wherever it is replaced: a second reference would keep a copy of it on the
  devices.
  """
  config = run.config
  batch_tokens = config.data.batch_tokens
  validation = Validation(config, run.model, run.prepared)
  with naming_batch_tokens(batch_tokens):
    state, stream, reported, record = begin(run, options.on_corrupt, options.allow_device_change)
    jax.block_until_ready(state)
  start = Start(int(state.step), hardware())
  run.folder.write_config(config.to_flat(), record, start=start)  # now the folder holds a run
  for line in overview(config, run.prepared, stream, state.params):
    run.folder.log(line)
  for line in origin_lines(record):
    run.folder.log(line)
  hooks = RunHooks(run, validation, signals, reported)
  with hooks.show_progress(int(state.step)), naming_batch_tokens(batch_tokens):
    train_step = TrainStep(config, run.model)
    state = parallel.replicate(state)
    compile_updates(config, train_step, state, stream)
    signals.begin()
    if step := int(parallel.to_host(state.step)):
      hooks.catch_up(step, state)
    elif config.train.init_from:  # from here on that other run is not needed
      hooks.save(0, state, stream.position)
      run.checkpoints.wait()
    profiled = _profiled(run, train_step, options.profile_steps)
    state, step, position, is_stopped = run_updates(
      config, state, stream, profiled or train_step, make_reset(), hooks, reported
    )
    if profiled:
      profiled.close(state)
  is_stopped = hooks.is_unevaluated or (is_stopped and not hooks.is_out_of_patience)
  why = ""
  if is_stopped:
    hooks.save(step, state, position)
  elif hooks.is_out_of_patience:
    why = f": {hooks.finish_early(step, state, position)}"
  run.checkpoints.wait()
  hooks.close()
  if is_stopped:
    run.folder.log(f"stopped at step {step} by signal {signals.number}, saved")
    raise Interrupted(signals.number, step)
  run.folder.log(f"done: step {step}{why}")


def _profiled(
  run: RunParts, train_step: TrainStep, steps: tuple[int, int] | None
) -> ProfiledSteps | None:
  """Returns the train step that also writes a trace, if one is requested."""
  if steps is None:
    return None
  first, last = steps
  return ProfiledSteps(train_step, first, last, run.folder.path / "profile", run.folder.log)


def _say(message: str) -> None:
  """Prints above the progress bar. Not to log.txt: the disk may be full when a signal comes."""
  with contextlib.suppress(OSError, ValueError):
    tqdm.write(f"transformer-jax: {message}", file=sys.stderr)
