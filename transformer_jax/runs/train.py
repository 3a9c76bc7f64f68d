"""`train`: from a configuration and a workdir to a trained model; the same call again resumes."""

import contextlib
import datetime
import itertools
import math
import sys

import jax
import numpy as np
from tqdm import tqdm

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import check_sums, refuse_unread, split_list
from transformer_jax.data.tokenizers.folder import fingerprint, save_tokenizer
from transformer_jax.errors import CheckpointError, ConfigError, Interrupted, WorkdirError
from transformer_jax.files import atomic_write
from transformer_jax.runs.build import build_model, check_kernel
from transformer_jax.runs.prepare import make_tokenizer, prepare
from transformer_jax.runs.profile import ProfiledSteps
from transformer_jax.runs.startup_report import overview
from transformer_jax.runs.stop_signals import StopSignals
from transformer_jax.runs.validation import EvaluationStopped, Validation, perplexity_of
from transformer_jax.runs.watchdog import Watchdog
from transformer_jax.strict_json import json_text
from transformer_jax.training.loop import Hooks, is_evaluated, run_updates
from transformer_jax.training.schedule import noam_schedule
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep, make_reset
from transformer_jax.workdir.folder import Workdir, whole_settings
from transformer_jax.workdir.lock import WorkdirLock
from transformer_jax.workdir.tensorboard import TensorBoard

# Settings that may change when a run is resumed: they decide what is reported and kept, not what is computed.
CHANGEABLE = {
  "train_steps",
  "log_every",
  "evaluate_every",
  "bleu_sentences",
  "evaluation_beam_size",
  "checkpoint_every",
  "keep_checkpoints",
  "keep_best",
  "max_nonfinite_updates",
  "beam_size",
  "length_penalty",
  "length_penalty_form",
  "max_extra_length",
  "constrained",
  "decode_batch_tokens",
  "max_source_length",
  "average_last",
  "tfds_data_dir",
}

# Where the text lies. A checkpoint knows it by its SHA-256, so it may lie elsewhere when the run is
# resumed, and a test set may be added.
_PLACES = {"tfds_splits", "treebank"} | {
  f"{split}_{what}"
  for split in ("train", "valid", "test")
  for what in ("source", "target", "sections", "trees")
}
_TOKENIZER_FILES = ("bpe_codes", "vocabulary_file")

# What an evaluation's scores depend on besides model and text; how hypotheses are compared, where
# there are several.
_SCORE_SETTINGS = (
  "bleu_sentences",
  "evaluation_beam_size",
  "max_extra_length",
  "max_source_length",
  "constrained",
)
_COMPARISON_SETTINGS = ("length_penalty", "length_penalty_form")

_LEAST_EPSILON = float(np.finfo(np.float32).tiny)  # devices take what is smaller for 0

_SMALLER_BATCHES = "lower it, and raise --accumulation_steps by as much, or lower --max_length, or make the model smaller"


def train(
  config,
  workdir,
  data_root,
  *,
  on_corrupt="refuse",
  allow_device_change=False,
  hosts=None,
  inject_nonfinite=(),
  profile_steps=None,
):
  """Trains until `train_steps`, resuming from the workdir's latest checkpoint if there is one.

  Args:
    config: the Config.
    workdir: folder of the run.
    data_root: folder that relative data paths start from.
    on_corrupt: what to do with a damaged checkpoint: "refuse", or go back to the "previous".
    allow_device_change: resume on another number of devices (dropout then differs from an uninterrupted run).
    hosts: of several processes: (coordinator's address, their number, this one's), as `parallel.start_up` takes them.
    profile_steps: (first, last) of the updates of this start, counted from 1, that a trace is written of.
    inject_nonfinite: for tests: updates of this start, counted from 1, skipped ones included, whose gradients are made NaN.

  Raises:
    Interrupted: SIGTERM, SIGHUP or Ctrl-C; the state is saved.
    TransformerJaxError: whatever else stands in the way, by name.
  """
  check_sums(config)
  parallel.start_up(*(hosts or ()), deterministic=config.train.deterministic)
  if not Workdir(workdir, primary=False).has_config():
    refuse_unread(config)
  folder = Workdir(workdir, primary=parallel.is_primary())
  watchdog = Watchdog(workdir, parallel.process_number(), parallel.num_processes())
  with (
    watchdog,
    _naming_lost_processes(folder.path),
    WorkdirLock(workdir, primary=parallel.is_primary()),
    StopSignals(_say) as signals,
  ):
    stored = _stored_settings(folder)
    config = _agree_with_stored(config, stored, folder.path)
    prepared = prepare(config, data_root, folder.tokenizer if stored else None)
    if stored:
      _check_same_tokenizer(config, stored, prepared, data_root)
    elif parallel.is_primary():
      save_tokenizer(prepared.task.tokenizer, folder.tokenizer)
    model = build_model(config, prepared.task)
    checkpoints = Checkpoints(
      folder.checkpoints,
      config.train.keep_checkpoints,
      config.train.keep_best,
      primary=parallel.is_primary(),
    )
    try:
      run = _Run(config, folder, prepared, model, checkpoints)
      run.train(signals, on_corrupt, allow_device_change, inject_nonfinite, profile_steps)
    finally:
      checkpoints.close()


def _stored_settings(folder):
  """The flat settings of the run in a Workdir, None without a run.

  They are those of config.json, or where that is gone of the latest checkpoint.
  """
  if folder.has_config():
    return folder.read_config()
  checkpoints = Checkpoints(folder.checkpoints, read_only=True)
  if not checkpoints.steps():
    return None
  folder.log("warning: config.json is gone; the latest checkpoint has the settings")
  return whole_settings(checkpoints.meta().get("config"), folder.checkpoints)


def _agree_with_stored(config, stored, where):
  """The configuration to train with: the given one, with the run's kernel where none is asked for.

  Another kernel would give other bits.

  Raises:
    ConfigError: a setting cannot be trained with, or would make it another run than the stored one.
  """
  epsilon = config.train.adam_epsilon
  if epsilon < _LEAST_EPSILON:
    raise ConfigError(
      f"--adam_epsilon={epsilon:g}",
      "is 0 in float32, so that a gradient of 0 is divided by 0",
      "such as 1e-9",
    )
  if stored and config.model.attention_kernel == "auto":
    config = config.replace(attention_kernel=stored["attention_kernel"])
  if stored:
    _check_same_settings(config, stored, where)
  check_kernel(config)
  return config


def _check_same_settings(config, stored, where):
  """Refuses a configuration that differs from a run's flat settings in more than may change.

  Raises:
    ConfigError: names the setting.
  """
  for name, value in config.to_flat().items():
    if _identity(name, value) != _identity(name, stored[name]):
      raise ConfigError(
        f"--{name}={value}",
        f"the run in {where} was started with {_named(stored[name])}",
        "use that value, or another --workdir",
      )


def _identity(name, value):
  """What of a setting makes a run another run; None where nothing does."""
  if name in CHANGEABLE or name in _PLACES:
    return None
  if name in _TOKENIZER_FILES:
    return bool(value)
  if name == "preprocessed_splits":
    return set(split_list(value)) - {"test"}
  return value


def _named(value):
  return "none" if value == "" else value


def _check_same_tokenizer(config, stored, prepared, data_root):
  """Refuses another file of codes or words than the run's, which goes on with its own tokenizer.

  Raises:
    ConfigError: names the setting.
  """
  for name in _TOKENIZER_FILES:
    value = getattr(config.data, name)
    if value != stored[name]:
      other = make_tokenizer(config.data, prepared.source, data_root)
      if fingerprint(other) != fingerprint(prepared.task.tokenizer):
        problem = f"gives another tokenizer than {stored[name]}, which the run was started with"
        raise ConfigError(
          f"--{name}={value}", problem, "name the same content, or another --workdir"
        )


class _Run:
  """One process's part in a training run."""

  def __init__(self, config, folder, prepared, model, checkpoints):
    self._config, self._folder, self._prepared, self._checkpoints = (
      config,
      folder,
      prepared,
      checkpoints,
    )
    self._model = model
    self._validation = Validation(config, model, prepared)
    self._learning_rate = noam_schedule(
      config.model.d_model, config.train.warmup_steps, config.train.learning_rate_scale
    )
    self._is_unevaluated = False  # whether a signal came while the last step was evaluated
    self._reported = 0  # the step up to which a line tells of the updates

  def train(self, signals, on_corrupt, allow_device_change, inject_nonfinite, profile_steps):
    """Initialises or restores, trains, and saves on an early stop."""
    config = self._config
    with _naming_batch_tokens(config.data.batch_tokens):
      state, stream = jax.block_until_ready(self._start(on_corrupt, allow_device_change))
    self._should_stop = lambda: self._is_unevaluated or signals.should_stop()
    self._folder.write_config(config.to_flat())  # from here on the folder holds a run
    for line in overview(config, self._prepared, stream, state.params):
      self._folder.log(line)
    self._warn_of_steps_without_score()
    self._tensorboard = TensorBoard(self._folder.tensorboard, primary=parallel.is_primary())
    with tqdm(
      total=config.train.train_steps,
      initial=int(state.step),
      unit="update",
      disable=None,
      mininterval=1,
    ) as self._bar:
      hooks = Hooks(
        report=self._report,
        save=self._save,
        evaluate=self._evaluate,
        should_stop=self._should_stop,
        give_up=self._write_batches,
      )
      train_step = TrainStep(config, self._model)
      with _naming_batch_tokens(config.data.batch_tokens):
        state = parallel.replicate(state)
        self._check_memory(train_step, state, stream)
        signals.begin()
        if step := int(parallel.to_host(state.step)):
          self._keep_if_due(step)
          self._evaluate_if_due(step, state)
        observed = self._observed(train_step, inject_nonfinite, profile_steps)
        state, step, position, is_stopped = run_updates(
          config, state, stream, observed, make_reset(), hooks, self._reported
        )
        if isinstance(observed, ProfiledSteps):
          observed.close(state)
    is_stopped = is_stopped or self._is_unevaluated
    if is_stopped:
      self._save(step, state, position)
    self._checkpoints.wait()
    self._tensorboard.close()
    if is_stopped:
      self._folder.log(f"stopped at step {step} by signal {signals.number}, saved")
      raise Interrupted(signals.number, step)
    self._folder.log(f"done: step {step}")

  def _check_memory(self, train_step, state, stream):
    """Refuses batches that cannot fit, before the first update; the largest shape is the one that tells."""
    rows, *widths = max(stream.shapes(), key=lambda shape: sum(shape[1:]))
    batch = tuple(parallel.shard_rows(np.zeros((rows, width), np.int32)) for width in widths)
    needed, free = (
      train_step.compile_ahead(state, batch, self._config.data.accumulation_steps == 1),
      parallel.free_memory(),
    )
    if needed is not None and free is not None and needed > free:
      raise ConfigError(
        f"--batch_tokens={self._config.data.batch_tokens}",
        f"a batch of {rows} x ({widths[0]} + {widths[1]}) positions needs {needed / 1e9:.1f} GB of a "
        f"device, and {free / 1e9:.1f} GB are free",
        _SMALLER_BATCHES,
      )

  def _observed(self, train_step, inject_nonfinite, profile_steps):
    """The step as this start takes it."""
    if profile_steps:
      return ProfiledSteps(
        train_step, *profile_steps, self._folder.path / "profile", self._folder.log
      )
    if not inject_nonfinite:
      return train_step
    poisoned, numbers = TrainStep(self._config, self._model, is_poisoned=True), itertools.count(1)
    return lambda state, batches: (poisoned if next(numbers) in inject_nonfinite else train_step)(
      state, batches
    )

  def _start(self, on_corrupt, allow_device_change):
    """(state, stream) of step 0, or of the latest checkpoint."""
    config, prepared = self._config, self._prepared
    make_state = lambda: initial_state(config, self._model)
    if not self._checkpoints.steps():
      self._check_nothing_is_lost()
      self._folder.cut_metrics(0)
      return jax.jit(make_state)(), prepared.stream_from()
    like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(make_state))
    state, meta, step = self._checkpoints.restore(like, on_corrupt=on_corrupt)
    self._check_same_run(meta, step)
    if meta["num_devices"] != parallel.num_devices() and not allow_device_change:
      raise CheckpointError(
        f"step {step}",
        f"was trained on {meta['num_devices']} devices, and here are {parallel.num_devices()}",
        "use as many, or --allow_device_change (dropout then differs from an uninterrupted run)",
      )
    for error in self._checkpoints.passed_over:
      self._folder.log(
        f"warning: {error.where}: {error.problem}; went back to step {step}, "
        "and put the damaged one aside as damaged-*"
      )
    self._folder.cut_metrics(step)
    self._reported = meta.get("reported", self._guess_of_reported(step, meta))
    self._folder.log(f"resumed at step {step}")
    return state, prepared.stream_from(meta["data"])

  def _guess_of_reported(self, step, meta):
    """The step up to which the updates were told, for a checkpoint of before it said so itself."""
    reported = self._folder.reported_step()
    return step - step % meta["config"]["log_every"] if reported is None else reported

  def _check_nothing_is_lost(self):
    """Refuses to start anew where there must have been a checkpoint.

    The first is on disk before its step is evaluated, and before the third's step is reported.

    Raises:
      CheckpointError: the checkpoints have gone.
    """
    has_config = self._folder.has_config()
    settings = self._folder.read_config() if has_config else self._config.to_flat()
    every, lines = settings["checkpoint_every"], self._folder.read_metrics()
    last = max((line["step"] for line in lines), default=0)
    evaluated = [line["step"] for line in lines if line.get("split") == "valid"]
    if last > 2 * every or any(step % every == 0 for step in evaluated):
      raise CheckpointError(
        self._folder.checkpoints,
        f"holds no checkpoint, and metrics.jsonl reaches step {last}",
        "restore the checkpoints, or start anew: in another --workdir, or here once "
        "metrics.jsonl is moved away",
      )
    if lines:
      self._folder.log(
        "warning: there is no checkpoint yet, so the run starts anew; metrics.jsonl "
        f"had reached step {last}"
      )

  def _check_same_run(self, meta, step):
    """Compares a checkpoint with what is asked for now.

    Raises:
      ConfigError: other settings.
      CheckpointError: other training text.
    """
    config, wanted = self._config, self._config.train.train_steps
    stored = whole_settings(meta["config"], f"step {step}")
    _check_same_settings(config, stored, self._folder.path)
    if meta["data_fingerprint"] != self._prepared.fingerprint:
      raise CheckpointError(
        f"step {step}",
        "the training data or the tokenizer has changed since this checkpoint",
        "restore them, or start anew in another --workdir",
      )
    if step > wanted:
      raise ConfigError(
        f"--train_steps={wanted}",
        f"the run in {self._folder.path} is at step {step} already",
        "give as many or more",
      )
    ours = self._prepared.valid_fingerprint
    changed = [f"--{n}" for n in _score_settings(config) if config.to_flat()[n] != stored[n]]
    if meta.get("valid_fingerprint", ours) != ours:
      changed.append("the validation text")
    if changed:
      self._folder.log(
        f"warning: {' and '.join(changed)} changed after step {step}: scores from "
        "here on are not compared with earlier ones"
      )

  def _warn_of_steps_without_score(self):
    train = self._config.train
    both = math.lcm(train.evaluate_every, train.checkpoint_every)
    if train.keep_best and both not in (train.evaluate_every, train.checkpoint_every):
      self._folder.log(
        f"warning: --keep_best={train.keep_best} chooses among every {both:,}th step and the "
        "last: only they are evaluated and saved; make one of "
        f"--evaluate_every={train.evaluate_every} and --checkpoint_every={train.checkpoint_every} "
        "divide the other"
      )

  def _report(self, metrics):
    """A line of metrics for the updates since the last one."""
    nll, self._reported = metrics.pop("nll"), metrics["step"]
    metrics.update(
      perplexity=perplexity_of(nll),
      learning_rate=float(self._learning_rate(max(metrics["step"], 1))),
    )
    self._write(metrics)
    self._bar.update(metrics["step"] - self._bar.n)
    step, total = metrics["step"], self._config.train.train_steps
    left = datetime.timedelta(seconds=round((total - step) / metrics["updates_per_second"]))
    self._folder.log(
      f"step {step:,}/{total:,}: loss {metrics['loss']:.3f}, {metrics['updates_per_second']:.2f} updates/s, "
      f"{metrics['target_tokens_per_second']:,.0f} target tokens/s, {left} left"
    )

  def _keep_if_due(self, step):
    """Keeps what an interruption saved, where by the settings of now it is a checkpoint."""
    if self._is_regular(step):
      self._checkpoints.make_regular(step)

  def _evaluate_if_due(self, step, state):
    """Makes up for an evaluation that did not come to its end before this start."""
    done = {line["step"] for line in self._folder.read_metrics() if line.get("split") == "valid"}
    is_due = is_evaluated(self._config.train, step) and step not in done
    if parallel.agree_on(int(is_due)):
      self._evaluate(step, state)

  def _evaluate(self, step, state):
    """Evaluates; the score is on disk before the line, so a step with the line is done."""
    try:
      metrics = self._validation(step, state.params, self._should_stop)
    except EvaluationStopped:
      self._is_unevaluated = True
      return
    name = self._prepared.task.main_score
    kind = self._score_kind(name if name in metrics else "loss")
    self._checkpoints.add_score(step, metrics.get(name, -metrics["loss"]), kind)
    self._write(metrics)
    score = f", {name.replace('_', ' ')} {metrics[name]:.4g}" if name in metrics else ""
    self._folder.log(
      f"step {step}: valid loss {metrics['loss']:.4f}, perplexity {metrics['perplexity']:.3f}{score}"
    )

  def _score_kind(self, name):
    """What a score is of: only scores of the same are compared."""
    flat, names = self._config.to_flat(), _score_settings(self._config) if name != "loss" else ()
    return dict(
      name=name,
      valid_fingerprint=self._prepared.valid_fingerprint,
      **{setting: flat[setting] for setting in names},
    )

  def _write(self, metrics):
    self._folder.write_metrics(metrics)
    self._tensorboard.write(metrics)

  def _save(self, step, state, position):
    meta = dict(
      data=position,
      data_fingerprint=self._prepared.fingerprint,
      valid_fingerprint=self._prepared.valid_fingerprint,
      num_devices=parallel.num_devices(),
      config=self._config.to_flat(),
      reported=self._reported,
    )
    is_temporary = not self._is_regular(step)
    self._checkpoints.save(step, parallel.to_host(state), meta, temporary=is_temporary)

  def _is_regular(self, step):
    """Whether a checkpoint of this step is one that is kept."""
    train = self._config.train
    return step % train.checkpoint_every == 0 or step == train.train_steps

  def _write_batches(self, step, batches):
    """The batches of a non-finite update, for whoever looks into it."""
    if parallel.is_primary():
      path = self._folder.path / f"nonfinite_after_step_{step}.json"
      atomic_write(
        path,
        json_text(
          [dict(source=b.source_BS.tolist(), target=b.target_BT.tolist()) for b in batches]
        ),
      )
      self._folder.log(f"the batches of the update after step {step} stand in {path}")


def _score_settings(config):
  """Names of the settings that scores depend on."""
  return _SCORE_SETTINGS + (_COMPARISON_SETTINGS if config.train.evaluation_beam_size > 1 else ())


def _say(message):
  """On stderr alone, above the progress bar: a signal may come when no file can be written."""
  with contextlib.suppress(OSError, ValueError):
    tqdm.write(f"transformer-jax: {message}", file=sys.stderr)


@contextlib.contextmanager
def _naming_lost_processes(workdir):
  """Says why a sum over several processes failed: one of them has ended."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    is_ours = isinstance(error, ValueError) and "Gloo" not in str(
      error
    )  # as a ValueError jax reports the sums of CPUs alone
    if parallel.num_processes() == 1 or is_ours:
      raise
    raise WorkdirError(
      workdir,
      f"another process of the run has ended, or cannot be reached: {error}",
      "log.txt names it; start all processes again, and the run resumes",
    ) from None


@contextlib.contextmanager
def _naming_batch_tokens(batch_tokens):
  """Says which flag helps when a device has no memory left."""
  try:
    yield
  except (jax.errors.JaxRuntimeError, MemoryError) as error:
    if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
      raise
    raise ConfigError(
      f"--batch_tokens={batch_tokens}", "a device has not enough memory", _SMALLER_BATCHES
    ) from None
