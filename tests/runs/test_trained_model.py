"""The Python API that README describes."""

import numpy as np
import pytest

import transformer_jax
from transformer_jax.errors import ConfigError, DataError, WorkdirError
from transformer_jax.runs.search import make_decode_batch


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained, beam_size=2)


def test_translates_lists_and_streams(model):
  three = model.translate(["forty two", "", "six"])
  assert len(three) == 3 and three[1] == "" and all(isinstance(text, str) for text in three)
  best = list(model.n_best(iter(["forty two", ""]), 2))
  assert [len(n_best) for n_best in best] == [2, 0] and best[0][0].score >= best[0][1].score
  assert next(model.n_best(["forty two", "six"], 1))[0].score == pytest.approx(
    best[0][0].score, rel=1e-4
  )


def test_one_text_is_no_list_of_texts(model):
  for call in (
    lambda: model.translate("forty two"),
    lambda: model.outputs("forty two"),
    lambda: model.n_best("forty two", 1),
    lambda: model.translate(b"forty two"),
    lambda: model.log_probs("ab"),
    lambda: list(model.log_probs(("ab", "cd"))),
    lambda: model.translate([b"forty two"]),
    lambda: model.translate([None]),
    lambda: list(model.log_probs([("one", 1)])),
    lambda: model.attention(["forty two"]),
    lambda: model.attention("forty two", ["x"]),
  ):
    with pytest.raises(TypeError, match="string"):
      call()
  with pytest.raises(ValueError, match="num_best is 0"):
    model.n_best(["forty two"], 0)


def test_fewer_outputs_are_the_first_ones(model):
  """A search for one output ends sooner. One sentence at a time, for batches of one shape."""
  for text in ("forty two", "nine hundred"):
    (two,), (one,) = list(model.n_best([text], 2)), list(model.n_best([text], 1))
    assert one[0].log_prob == pytest.approx(two[0].log_prob, rel=1e-4)
  source_BS = np.array([[5, 6, 1, 0]], np.int32)
  for num_best in (1, 2):
    decode_batch = make_decode_batch(model.model, model.config.decode, num_best=num_best)(
      model._params
    )
    assert decode_batch(source_BS, np.array([6]), np.array([0])).scores_BM.shape == (1, num_best)


def test_a_batch_of_pairs_is_no_larger_than_the_setting_says(trained, monkeypatch):
  model = transformer_jax.load(trained, decode_batch_tokens=256)
  pairs = [("one", "eins"), ("two", "zwei " * 30), ("six " * 50, "sechs"), *[("one", "eins")] * 60]
  expected = list(transformer_jax.load(trained).log_probs(pairs))
  shapes, inner = set(), model._log_probs
  monkeypatch.setattr(
    model,
    "_log_probs",
    lambda params, *sides: (
      shapes.add(tuple(side.shape[1:] for side in sides)) or inner(params, *sides)
    ),
  )
  np.testing.assert_allclose(list(model.log_probs(pairs)), expected, rtol=1e-4)
  assert shapes and all(rows * max(source, target) <= 256 for (rows, source), (_, target) in shapes)


def test_a_target_beyond_what_is_computed_at_once_is_named(trained):
  model = transformer_jax.load(trained, max_source_length=20, decode_batch_tokens=64)
  with pytest.raises(
    DataError, match=r"target 2: has .* tokens, but a batch holds only --decode_batch_tokens=64"
  ):
    list(model.log_probs([("one", "eins"), ("two", "zwei " * 100)]))


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


def test_attention_of_the_models_own_translation(model, monkeypatch):
  """The translation is made up here: a model that has learned little may return an empty one."""
  monkeypatch.setattr(model, "translate", lambda *_: ["zwei"])
  own = model.attention("forty two")
  assert own["target_text"] == "zwei" and own["target"][-1] == "</s>"


def test_log_probs_do_not_depend_on_neighbours(model):
  pairs = [("one", "eins"), ("nine hundred ninety nine", "neunhundertneunundneunzig"), ("two", "")]
  together = list(model.log_probs(pairs))
  alone = [next(iter(model.log_probs([pair]))) for pair in pairs]
  np.testing.assert_allclose(together, alone, rtol=1e-5)
  assert together[2][1] == 1  # only EOS


def test_wrong_settings_and_folders_are_named(trained, tmp_path):
  with pytest.raises(ConfigError, match="--beam_size: 0 is too small"):
    transformer_jax.load(trained, beam_size=0)
  with pytest.raises(WorkdirError, match="there is no run here"):
    transformer_jax.load(tmp_path)
