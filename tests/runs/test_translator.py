"""The Python API of README."""

import numpy as np
import pytest

import transformer_jax
from transformer_jax.errors import ConfigError, WorkdirError


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained, beam_size=2)


def test_translates_lists_and_streams(model):
  three = model.translate(["forty two", "", "six"])
  assert len(three) == 3 and three[1] == "" and all(isinstance(text, str) for text in three)
  best = list(model.n_best(iter(["forty two", ""]), 2))
  assert [len(n_best) for n_best in best] == [2, 0] and best[0][0].score >= best[0][1].score and best[0][0].text == three[0]


def test_attention_is_a_distribution_over_what_may_be_seen(model):
  weights = model.attention("forty two", "zweiundvierzig")
  num_source, num_target = len(weights["source"]), len(weights["target"])
  assert weights["source"][-1] == weights["target"][-1] == "</s>"
  assert weights["encoder"].shape == (1, 2, num_source, num_source)
  assert weights["decoder"].shape == (1, 2, num_target, num_target)
  assert weights["cross"].shape == (1, 2, num_target, num_source)
  for name in ("encoder", "decoder", "cross"):
    np.testing.assert_allclose(weights[name].sum(-1), 1, atol=1e-5)
  assert np.all(np.triu(weights["decoder"], 1) == 0)
  assert model.attention("forty two")["target"][-1] == "</s>"  # of its own translation


def test_log_probs_do_not_depend_on_neighbours(model):
  pairs = [("one", "eins"), ("nine hundred ninety nine", "neunhundertneunundneunzig"), ("two", "")]
  together = list(model.log_probs(pairs))
  alone = [next(iter(model.log_probs([pair]))) for pair in pairs]
  np.testing.assert_allclose(together, alone, rtol=1e-5)
  assert together[2][1] == 1  # EOS alone


def test_wrong_settings_and_folders_are_named(trained, tmp_path):
  with pytest.raises(ConfigError, match="--beam_size: 0 is too small"):
    transformer_jax.load(trained, beam_size=0)
  with pytest.raises(WorkdirError, match="there is no run here"):
    transformer_jax.load(tmp_path)


def test_a_step_and_an_average_are_two_answers(tmp_path):
  with pytest.raises(ConfigError, match="--average_last=2: averages the latest checkpoints, and --step=5 names one"):
    transformer_jax.load(tmp_path, step=5, average_last=2)
