"""The hooks of a training run: they report, save and evaluate at the steps that the loop marks."""

import datetime
from typing import Any

from tqdm import tqdm

from transformer_jax import parallel
from transformer_jax.data.pipeline import Batch
from transformer_jax.files import atomic_write
from transformer_jax.runs.parts import RunParts
from transformer_jax.runs.patience import Patience
from transformer_jax.runs.stop_signals import StopSignals
from transformer_jax.runs.validation import (
  EvaluationStopped,
  Validation,
  perplexity_of,
  score_settings,
)
from transformer_jax.strict_json import json_text
from transformer_jax.training.loop import Position, is_evaluated
from transformer_jax.training.schedule import noam_schedule
from transformer_jax.training.state import TrainState
from transformer_jax.workdir.tensorboard import TensorBoard


class RunHooks:
  """The `training.loop.Hooks` of a run.

  Args:
    run: the parts of the run.
    validation: its Validation.
    signals: StopSignals of this start.
    reported: the last step that metrics.jsonl reports.
  """

  is_unevaluated: bool  # true if a signal came while the last step was evaluated
  is_out_of_patience: bool  # true if the last evaluations brought no better score: training ends

  def __init__(
    self, run: RunParts, validation: Validation, signals: StopSignals, reported: int
  ) -> None:
    self.is_unevaluated = False
    self._score: tuple[int, float, dict[str, Any]] | None = None  # the arguments of `add_score`
    self._run = run
    self._validation = validation
    self._signals = signals
    self._reported = reported
    config = run.config
    self._learning_rate = noam_schedule(
      config.model.d_model, config.train.warmup_steps, config.train.learning_rate_scale
    )
    self._compared = run.prepared.task.main_score if config.train.bleu_sentences else "loss"
    self._patience = Patience.resumed(config, self._score_kind(self._compared), [])
    self.is_out_of_patience = False
    self._tensorboard = TensorBoard(run.folder.tensorboard, primary=parallel.is_primary())
    self._bar: Any = None

  def show_progress(self, step: int) -> tqdm:
    """Returns a context that shows the progress on standard error, from `step` on."""
    self._bar = tqdm(
      total=self._run.config.train.train_steps,
      initial=step,
      unit="update",
      disable=None,
      mininterval=1,
    )
    return self._bar

  def close(self) -> None:
    """Closes TensorBoard's file of events."""
    self._tensorboard.close()

  def should_stop(self) -> bool:
    """Returns whether to stop before the next update."""
    return self.is_out_of_patience or self._is_interrupted()

  def _is_interrupted(self) -> bool:
    return self.is_unevaluated or self._signals.should_stop()

  def _agreed_end(self) -> bool:
    """Returns whether patience ends the training, the same in all processes."""
    if not self._patience.limit:
      return False
    return parallel.agree_on(int(self._patience.is_at_end)) == 1

  def report(self, metrics: dict[str, Any]) -> None:
    """Writes and logs a line of metrics for the updates since the last one."""
    step = metrics["step"]
    self._reported = step
    metrics.update(
      perplexity=perplexity_of(metrics.pop("nll")),
      learning_rate=float(self._learning_rate(max(step, 1))),
      **self._run.time.so_far(),
    )
    self._write(metrics)
    self._bar.update(step - self._bar.n)
    total = self._run.config.train.train_steps
    speed = metrics["updates_per_second"]
    left = datetime.timedelta(seconds=round((total - step) / speed))
    self._run.folder.log(
      f"step {step:,}/{total:,}: loss {metrics['loss']:.3f}, {speed:.2f} updates/s, "
      f"{metrics['target_tokens_per_second']:,.0f} target tokens/s, {left} left"
    )

  def catch_up(self, step: int, state: TrainState) -> None:
    """Does what is still due at the step that an interrupted start ended with.

    It keeps the checkpoint of the interruption if the current settings make it a regular one, and
    evaluates if an evaluation is due that did not finish. It goes on counting evaluations without
    a better score.
    """
    if self._is_regular(step):
      self._run.checkpoints.make_regular(step)
    # The first process cuts off later lines; it may not have done so yet.
    lines = [line for line in self._run.folder.read_metrics() if line["step"] <= step]
    kind = self._score_kind(self._compared)
    self._patience = Patience.resumed(self._run.config, kind, lines)
    done = {line["step"] for line in lines if line.get("split") == "valid"}
    is_due = is_evaluated(self._run.config.train, step) and step not in done
    if parallel.agree_on(int(is_due)):
      self.evaluate(step, state)
    self.is_out_of_patience = self._agreed_end()

  def evaluate(self, step: int, state: TrainState) -> None:
    """Evaluates, unless a signal comes.

    The score is on disk before the line of metrics, so a step with the line is done.
    """
    try:
      metrics = self._validation(step, state.params_in_use, self._is_interrupted)
    except EvaluationStopped:
      self.is_unevaluated = True
      return
    name = self._run.prepared.task.main_score
    is_scored = name in metrics
    kind = self._score_kind(name if is_scored else "loss")
    value = metrics.get(name, -metrics["loss"])
    self._score = step, value, kind
    self._run.checkpoints.add_score(*self._score)
    self._write({**metrics, **self._patience.add(step, value), **self._run.time.so_far()})
    self.is_out_of_patience = self._agreed_end()
    score = f", {name.replace('_', ' ')} {metrics[name]:.4g}" if is_scored else ""
    self._run.folder.log(
      f"step {step}: valid loss {metrics['loss']:.4f}, "
      f"perplexity {metrics['perplexity']:.3f}{score}"
    )

  def finish_early(self, step: int, state: TrainState, position: Position) -> str:
    """Saves the last checkpoint of a run that patience ended; returns why it ended.

    The checkpoint is kept like that of the last of `train_steps`.
    """
    is_new = step not in self._run.checkpoints.steps()
    self.save(step, state, position)
    self._run.checkpoints.make_regular(step)
    if is_new and self._score is not None:
      self._run.checkpoints.add_score(*self._score)
    best = self._patience
    score = -best.best_score if self._compared == "loss" else best.best_score
    return (
      f"{best.count} evaluations brought no better {self._compared.replace('_', ' ')} than "
      f"{score:.4g} of step {best.best_step:,} (--patience={best.limit})"
    )

  def _score_kind(self, name: str) -> dict[str, Any]:
    """Returns what a score depends on. Only scores of the same kind are compared."""
    flat = self._run.config.to_flat()
    settings = score_settings(self._run.config) if name != "loss" else ()
    return dict(
      name=name,
      valid_fingerprint=self._run.prepared.valid_fingerprint,
      **{setting: flat[setting] for setting in settings},
    )

  def _write(self, metrics: dict[str, Any]) -> None:
    self._run.folder.write_metrics(metrics)
    self._tensorboard.write(metrics)

  def save(self, step: int, state: TrainState, position: Position) -> None:
    """Saves a checkpoint, which is temporary if no regular one is due at this step."""
    meta = dict(
      data=position,
      data_fingerprint=self._run.prepared.fingerprint,
      valid_fingerprint=self._run.prepared.valid_fingerprint,
      num_devices=parallel.num_devices(),
      config=self._run.config.to_flat(),
      reported=self._reported,
      **self._run.time.so_far(),
    )
    is_temporary = not self._is_regular(step)
    # Without a moving average a checkpoint has no entry for it, as those of older versions.
    parts = {name: part for name, part in vars(state).items() if part is not None}
    self._run.checkpoints.save(step, parallel.to_host(parts), meta, temporary=is_temporary)

  def _is_regular(self, step: int) -> bool:
    """Returns whether a regular checkpoint is due at this step."""
    if self.is_out_of_patience:
      return True
    train = self._run.config.train
    return (step > 0 and step % train.checkpoint_every == 0) or step == train.train_steps

  def give_up(self, step: int, batches: list[Batch]) -> None:
    """Writes this process's rows of the batches of a non-finite update to a file, for debugging."""
    of_process = "" if parallel.is_primary() else f"_process_{parallel.process_number()}"
    path = self._run.folder.path / f"nonfinite_after_step_{step}{of_process}.json"
    content = [
      dict(source=batch.source_BS.tolist(), target=batch.target_BT.tolist()) for batch in batches
    ]
    atomic_write(path, json_text(content))
    self._run.folder.log(f"the batches of the update after step {step} are in {path}")
