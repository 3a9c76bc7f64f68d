"""The engine answers as the trained model does, with heads closed and outputs forced."""

import json

import numpy as np
import pytest

import transformer_jax
from transformer_jax.analysis.attention.maps import sentence_attention
from transformer_jax.config import EOS_ID
from transformer_jax.runs.model_search import ModelSearch
from transformer_jax.service.engine import Engine, Search, Switches
from transformer_jax.service.problem import Problem

LINES = ["forty two", "", "nine hundred ninety nine", "six"]
HEAD = ("cross", 0, 1)


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained)


@pytest.fixture(scope="module")
def engine(model):
  return Engine(model)


def sentences(engine):
  return [engine.encode(line, "lines") for line in LINES]


def assert_same(ours, theirs):
  assert [[each.text for each in n] for n in ours] == [[each.text for each in n] for n in theirs]
  scores = [[[e.score for n in lists for e in n]] for lists in (ours, theirs)]
  np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.parametrize("beam_size, alpha, has_more", [(4, 1.5, True), (1, 0, False)])
def test_searches_are_those_of_the_model(trained, engine, beam_size, alpha, has_more):
  model = transformer_jax.load(trained, beam_size=beam_size, length_penalty=float(alpha))
  num_best = beam_size if has_more else 1
  found = engine.search(Search(beam_size, alpha, has_more), sentences(engine))
  assert_same(found, list(model.n_best(LINES, num_best)))
  assert found[1] == [] and all(len(n) == num_best for n in found[:1])


def test_closed_heads_are_those_of_the_model(model, engine):
  found = engine.search(Search(4, 0.6, True, Switches((HEAD,))), sentences(engine))
  assert_same(found, list(model.with_heads_closed([HEAD]).n_best(LINES, 4)))


def test_other_penalties_and_heads_need_no_other_program(engine, monkeypatch):
  asked = sentences(engine)
  engine.search(Search(4, 0.6, True), asked)

  def start(*args, **settings):
    raise AssertionError("a program is traced again")

  monkeypatch.setattr(ModelSearch, "start", start)
  engine.search(Search(4, 0.7, True, Switches((HEAD,), divide=False)), asked)
  with pytest.raises(AssertionError, match="traced again"):
    engine.search(Search(3, 0.7), asked)
  del engine._searches[3, False]


def test_few_searches_are_kept(engine):
  for beam_size in range(1, 12):
    engine._program(beam_size, False)
  assert len(engine._searches) == 6 and (11, False) in engine._searches


def test_an_output_goes_on_from_its_prefix(model, engine):
  (source,) = sentences(engine)[:1]
  prefix = tuple(model.encode("hundert", side="target")[:-1])
  assert prefix
  for beam_size in (1, 4):
    (answers,) = engine.search(Search(beam_size, 0.6, prefix=prefix), [source])
    (best,) = answers
    assert best.tokens[: len(prefix)] == prefix
    tokens = [*best.tokens, *[EOS_ID] * best.is_finished]
    look = engine.look(Switches(), source.tokens, tokens)
    assert best.log_prob == pytest.approx(float(look.log_probs_T.sum()), rel=1e-4)


def test_a_look_is_the_model_s_attention_and_logits(model, engine):
  target = model.encode("zweiundvierzig", side="target")
  look = engine.look(Switches((HEAD,)), model.encode(LINES[0]), target)
  closed = model.with_heads_closed([HEAD])
  expected = closed.attention(LINES[0], "zweiundvierzig")
  for name, weights in look.weights.items():
    np.testing.assert_allclose(weights, expected[name], atol=1e-5)
    for kind, vectors in look.vectors[name].items():
      np.testing.assert_allclose(vectors, expected["vectors"][name][kind], atol=1e-4)
  logits_TC = closed.logits(LINES[0], "zweiundvierzig").astype(np.float64)
  log_probs_TC = logits_TC - np.log(np.exp(logits_TC).sum(-1, keepdims=True))
  places = np.arange(len(target))
  np.testing.assert_allclose(look.log_probs_T, log_probs_TC[places, target], atol=1e-4)
  log_probs_TC[:, 0] = -np.inf  # PAD is never chosen
  best = -np.sort(-log_probs_TC, axis=-1)[:, :20]
  np.testing.assert_allclose(look.rival_log_probs_TR, best, atol=1e-4)
  np.testing.assert_allclose(
    np.take_along_axis(log_probs_TC, look.rivals_TR, axis=-1), best, atol=1e-4
  )


def test_without_the_division_the_weights_are_the_softmax_of_the_scores(model, engine):
  """Of the first layer, whose queries and keys do not depend on other layers."""
  source, target = model.encode(LINES[0]), model.encode("zweiundvierzig", side="target")
  divided = engine.look(Switches(), source, target)
  undivided = engine.look(Switches(divide=False), source, target)
  vectors = divided.vectors["encoder"]
  scores = np.einsum("htk,hsk->hts", vectors["query"][0], vectors["key"][0]).astype(np.float64)
  for look, scale in ((divided, model.config.model.d_k**0.5), (undivided, 1.0)):
    weights = np.exp(scores / scale)
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(look.weights["encoder"][0], weights, atol=1e-5)
  assert np.abs(undivided.weights["encoder"] - divided.weights["encoder"]).max() > 1e-3


def test_only_queries_change_without_the_division(model):
  ours, theirs = model.parameters(), model.without_division().parameters()
  factor = model.config.model.d_k**0.5
  assert ours.keys() == theirs.keys()
  changed = [name for name in ours if not np.array_equal(ours[name], theirs[name])]
  assert changed and all(name.split(".")[-2] == "query" for name in changed)
  for name in changed:
    np.testing.assert_allclose(theirs[name], ours[name] * factor, rtol=1e-6)


def test_a_sentence_that_is_too_long_is_refused(trained):
  engine = Engine(transformer_jax.load(trained, max_source_length=4))
  assert engine.encode("six", "source").tokens[-1] == EOS_ID
  with pytest.raises(Problem) as caught:
    engine.encode("nine hundred ninety nine thousand", "lines[7]")
  assert caught.value.status == 413 and caught.value.where == "lines[7]"
  assert "at most 4" in caught.value.remedy


def test_the_json_of_a_map_is_that_of_attention_json(model):
  """`to_json` gives what the command wrote before the service shared its parts."""
  from transformer_jax.analysis.attention.maps import to_json

  found = sentence_attention(model, LINES[0], "zweiundvierzig")
  written = json.loads(json.dumps(to_json(found)))
  assert list(written) == ["source", "target", "encoder", "decoder", "cross"]
  assert written["decoder"]["keys"][0] == "<start>"
  assert np.shape(written["cross"]["weights"]) == found.maps["cross"].weights_NHTS.shape
