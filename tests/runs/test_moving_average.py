"""`--ema_decay`: the moving average is kept, resumed, evaluated and decoded with."""

from typing import Any

import numpy as np
import pytest
from tiny_run import metrics_of, tiny_config
from trees_close import assert_trees_close, assert_trees_equal

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.checkpoints.leaves import named_leaves
from transformer_jax.config import Config
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.initialization import source_parameters
from transformer_jax.runs.parts import RunParts
from transformer_jax.runs.train import train
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.workdir.folder import Workdir

pytestmark = pytest.mark.slow

SETTINGS = dict(
  ema_decay=0.9,
  train_steps=12,
  evaluate_every=6,
  log_every=6,
  checkpoint_every=6,
  word_dropout_rate=0.2,
  dropout_warmup_steps=8,
  bleu_sentences=0,
)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
  """Returns the workdir of a run that keeps a moving average."""
  run = tmp_path_factory.mktemp("averaged") / "run"
  train(tiny_config(**SETTINGS), run, ".")
  return run


def parts_of(workdir, step):
  """Returns (parameters, moving average) of a checkpoint, each name -> array."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    arrays, _, _ = checkpoints.read(step)
  part = lambda name: {
    path.removeprefix(f"{name}/"): array
    for path, array in arrays.items()
    if path.startswith(f"{name}/")
  }
  return part("params"), part("ema")


def test_a_resumed_run_has_the_same_average_to_the_bit(averaged, tmp_path):
  """Also with dropped words and rising dropout, which are functions of the position."""
  train(tiny_config(**{**SETTINGS, "train_steps": 6}), tmp_path / "run", ".")
  train(tiny_config(**SETTINGS), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(averaged)
  assert metrics_of(tmp_path / "run") == metrics_of(averaged)


def test_the_average_is_evaluated_and_decoded_with(averaged):
  params, average = parts_of(averaged, 12)
  assert params.keys() == average.keys()
  assert any(np.abs(params[name] - average[name]).max() > 1e-4 for name in params)
  model = TrainedModel.load(averaged)
  assert_trees_equal(dict(named_leaves(model.params)), average)
  # The evaluation of the run, too: it has the perplexity of this model.
  pairs = list(model_pairs(model))
  log_probs = list(model.log_probs(pairs))
  loss = -sum(log_prob for log_prob, _ in log_probs) / sum(tokens for _, tokens in log_probs)
  assert loss == pytest.approx(metrics_of(averaged)[-1]["loss"], rel=1e-5)
  assert "moving average of the parameters: 0.1 MB more" in (averaged / "log.txt").read_text()


def model_pairs(model):
  """Returns the validation pairs of a run."""
  return open_source(model.config.data, ".").pairs("valid")


def test_average_last_is_the_mean_of_the_averages(averaged):
  _, first = parts_of(averaged, 6)
  _, second = parts_of(averaged, 12)
  model = TrainedModel.load(averaged, average_last=2)
  mean = {name: (first[name] + second[name]) / 2 for name in first}
  assert_trees_close(dict(named_leaves(model.params)), mean, atol=1e-7)


def test_a_tuned_run_begins_with_the_average(averaged, tmp_path):
  model = TrainedModel.load(averaged)
  config = Config().replace(**{**model.config.to_flat(), "init_from": str(averaged)})
  folder = Workdir(tmp_path / "tuned")
  not_read: Any = None
  run = RunParts(config, folder, not_read, model.model, not_read, not_read)
  params, record = source_parameters(run)
  assert record["step"] == 12
  assert_trees_equal(params, model.params)


def test_a_run_without_it_has_no_trace_of_it(trained):
  _, average = parts_of(trained, 40)
  assert not average
  metadata = trained / "checkpoints" / "40" / "state" / "_METADATA"
  assert "'params'" in metadata.read_text() and "'ema'" not in metadata.read_text()
