"""Several runs that answer together (`--ensemble`): they share a tokenizer and a task."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from transformer_jax import parallel
from transformer_jax.config import split_list
from transformer_jax.data.tokenizers.folder import fingerprint
from transformer_jax.decoding.ensemble import mean_log_probs
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.trained_model import LoadedRun, TrainedModel, load_run
from transformer_jax.training.label_smoothing import token_log_probs
from transformer_jax.workdir.folder import Workdir

# Settings of the data that say what the tokens mean.
_OF_THE_TEXT = ("task", "linearization", "preprocessing", "source_language", "target_language")

Models = tuple[Transformer, ...]


class Ensemble(TrainedModel):
  """Runs as one model: the probability of a next token is the mean of theirs.

  It is the arithmetic mean of probabilities, as in fairseq, not of their logarithms. Task and
  decoding settings are the first run's.
  """

  members: list[tuple[str, list[int]]]  # (workdir, the checkpoints that its parameters are from)

  def __init__(self, workdirs: Sequence[StrPath], runs: Sequence[LoadedRun]) -> None:
    first = runs[0]
    config = first.config
    tables = [run.config.model for run in runs if run.config.model.positions == "learned"]
    if tables:
      # Not `Config.replace`: it would hold the first run's training against the other's positions.
      shortest = min(tables, key=lambda model: model.max_positions)
      own = dataclasses.replace(
        config.model, positions="learned", max_positions=shortest.max_positions
      )
      config = dataclasses.replace(config, model=own)
    super().__init__(
      config, first.task, first.model, tuple(run.params for run in runs), first.steps
    )
    models = tuple(run.model for run in runs)
    self.members = [(str(path), run.steps) for path, run in zip(workdirs, runs, strict=True)]
    self._searched = models
    self._log_probs = parallel.on_devices(functools.partial(_sequence_log_probs, models))
    self._logits = parallel.on_devices(functools.partial(_mean_logits, models))

  def parameters(self) -> NoReturn:
    """Raises a TypeError: each member has its own."""
    _refuse("parameters")

  def attention(self, *_: Any, **__: Any) -> NoReturn:
    """Raises a TypeError: each member has its own."""
    _refuse("attention")

  def cross_attention(self, *_: Any, **__: Any) -> NoReturn:
    """Raises a TypeError: each member has its own."""
    _refuse("attention")

  def with_heads_closed(self, *_: Any, **__: Any) -> NoReturn:
    """Raises a TypeError: each member has its own heads."""
    _refuse("heads")

  def without_division(self) -> NoReturn:
    """Raises a TypeError: each member has its own attention."""
    _refuse("attention")


def _refuse(what: str) -> NoReturn:
  raise TypeError(f"an ensemble has no {what} of its own: load one of its runs")


def load_together(
  workdir: StrPath, others: str = "", checkpoint: int | str = "last", **settings: Any
) -> TrainedModel:
  """Loads a run, or an ensemble of it and others.

  Args:
    workdir: folder of the first run, whose decoding settings count.
    others: folders of the other runs, comma-separated; empty: there are none.
    checkpoint, **settings: of every run, as `TrainedModel.load` takes them.

  Raises:
    ConfigError: the runs do not fit together, or one is named twice; names it.
    TransformerJaxError: as `TrainedModel.load`.
  """
  workdirs = [workdir, *split_list(others)]
  if len(workdirs) == 1:
    return TrainedModel.load(workdir, checkpoint, **settings)
  check_different(workdirs)
  runs = [load_run(path, checkpoint, settings) for path in workdirs]
  for path, run in zip(workdirs[1:], runs[1:], strict=True):
    _check_fits(path, run, workdir, runs[0])
  return Ensemble(workdirs, runs)


def check_different(workdirs: Sequence[StrPath]) -> None:
  """Refuses folders without a run, and one that is named twice.

  Raises:
    ConfigError, WorkdirError: names the folder.
  """
  found = set()
  for path in workdirs:
    Workdir(path, primary=False).read_config()
    place = Path(path).resolve()
    if place in found:
      raise ConfigError(
        f"--ensemble={path}",
        "is named twice, or is --workdir itself",
        "name the other runs, each once",
      )
    found.add(place)


def _check_fits(path: StrPath, run: LoadedRun, first_path: StrPath, first: LoadedRun) -> None:
  """Refuses a run that reads or writes other tokens than the first one.

  Raises:
    ConfigError: says what differs.
  """
  for name in _OF_THE_TEXT:
    own, of_first = (getattr(each.config.data, name) for each in (run, first))
    if own != of_first:
      raise ConfigError(
        f"--ensemble={path}",
        f"is a run of --{name}={own}, and {first_path} of {of_first}",
        "the runs of an ensemble need the same",
      )
  if fingerprint(run.task.tokenizer) != fingerprint(first.task.tokenizer):
    raise ConfigError(
      f"--ensemble={path}",
      f"has another tokenizer than {first_path}",
      "train the runs on the same text with the same settings of the tokenizer, and other seeds",
    )


def _sequence_log_probs(
  models: Models,
  params: tuple[Any, ...],
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
) -> Float32[Array, " B"]:
  """Returns the log-probability of each target by the mean of the models; as `TrainedModel`'s."""
  pairs = zip(models, params, strict=True)
  each = [token_log_probs(model, its_params, source_BS, target_BT) for model, its_params in pairs]
  return jnp.sum(mean_log_probs(each), axis=-1)


def _mean_logits(
  models: Models,
  params: tuple[Any, ...],
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
) -> Float32[Array, "B T C"]:
  """Returns the logarithms of the mean probabilities of every token."""
  pairs = zip(models, params, strict=True)
  each: list[Any] = [
    model.apply({"params": its_params}, source_BS, target_BT) for model, its_params in pairs
  ]
  return mean_log_probs([jax.nn.log_softmax(logits_BTC) for logits_BTC in each])
