"""Tests of `heads`: gates, importance and looks against direct computation, and the command."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

import transformer_jax
from transformer_jax.analysis.heads import report
from transformer_jax.analysis.heads.importance import (
  HeadStudy,
  log_rise,
  rank_correlation,
  within_layer,
)
from transformer_jax.analysis.heads.looks import Looks
from transformer_jax.cli.main import run as command_line
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.errors import DataError
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.runs.train import train
from transformer_jax.training.label_smoothing import sequence_log_probs

NUM_PAIRS = 10


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("heads") / "run"
  config = tiny_run.tiny_config(
    num_layers=2,
    num_heads=4,
    d_k=8,
    d_v=8,
    num_buckets=1,
    train_steps=20,
    checkpoint_every=20,
    bleu_sentences=0,
  )
  train(config, folder, ".")
  return folder


@pytest.fixture(scope="module")
def translator(workdir):
  return transformer_jax.load(workdir, beam_size=1)


@pytest.fixture(scope="module")
def pairs(translator):
  return list(itertools.islice(open_source(translator.config.data).pairs("valid"), NUM_PAIRS))


@pytest.fixture(scope="module")
def study(translator, pairs):
  return HeadStudy(translator, pairs, bleu_sentences=4, batch_size=8)


@pytest.fixture(scope="module")
def log_probs(translator, pairs):
  """Returns a function gates -> log-probability of each target, all pairs in one batch."""
  sources = [translator.task.encode_source(source) for source, _ in pairs]
  targets = [translator.task.encode_target(target) for _, target in pairs]
  source_BS, target_BT = (
    jnp.asarray(pad_rows(side, len(side), max(map(len, side)))) for side in (sources, targets)
  )

  @jax.jit
  def compute(params, gates):
    return sequence_log_probs(translator.model, params, source_BS, target_BT, gates)

  return lambda gates: np.asarray(compute(translator.params, gates))


@pytest.fixture(scope="module")
def num_target_tokens(translator, pairs):
  return sum(len(translator.task.encode_target(target)) for _, target in pairs)


def test_every_head_has_a_gate(study):
  assert len(study.heads) == 3 * 2 * 4
  gates = study.without([("cross", 1, 3), ("encoder", 0, 0)])
  assert gates.cross[1, 3] == 0
  assert gates.encoder[0, 0] == 0
  assert sum(int(np.sum(np.asarray(g) == 0)) for g in jax.tree.leaves(gates)) == 2
  alone = study.alone(("decoder", 1, 2))
  assert list(alone.decoder[1]) == [0, 0, 1, 0]
  assert np.all(alone.decoder[0] == 1)
  assert np.all(alone.cross == 1)


def test_perplexity_is_that_of_the_pairs(study, log_probs, num_target_tokens):
  for gates in (study.open, study.without(study.heads)):
    expected = np.exp(-np.sum(log_probs(gates)) / num_target_tokens)
    assert study.perplexity(gates) == pytest.approx(expected, rel=1e-5)
  closed = study.perplexity(study.without(study.heads))
  assert closed != pytest.approx(study.perplexity(study.open), rel=1e-3)


def test_importance_is_the_mean_gradient_of_each_sentence(study, translator, log_probs):
  """Compares with finite differences of one gate, sentence by sentence, in absolute value."""
  importance = study.importance()

  def with_gate(attention, layer, number, value):
    gates = {name: np.array(g) for name, g in vars(HeadGates.open(translator.config.model)).items()}
    gates[attention][layer, number] = value
    return HeadGates(**gates)

  for head in (("encoder", 0, 1), ("decoder", 1, 3), ("cross", 1, 0)):
    higher = log_probs(with_gate(*head, 1.02))
    lower = log_probs(with_gate(*head, 0.98))
    expected = np.mean(np.abs(higher - lower)) / 0.04
    assert importance[head] == pytest.approx(expected, rel=0.05, abs=2e-4)


@pytest.mark.slow
def test_importance_of_a_model_without_some_heads(study, log_probs):
  """The gradient is taken where these heads are closed, also their own."""
  closed = [study.heads[0], study.heads[-1]]
  importance = study.importance(closed)
  for head in (study.heads[0], study.heads[5]):
    attention, layer, number = head
    gates = study.without(closed)
    values = np.array(vars(gates)[attention])
    higher, lower = values.copy(), values.copy()
    higher[layer, number] += 0.02
    lower[layer, number] -= 0.02
    at = [log_probs(gates.replace(**{attention: each})) for each in (higher, lower)]
    expected = np.mean(np.abs(at[0] - at[1])) / 0.04
    assert importance[head] == pytest.approx(expected, rel=0.05, abs=2e-4)
  whole = study.importance()
  assert importance[study.heads[5]] != pytest.approx(whole[study.heads[5]], rel=1e-3)


def test_the_greedy_order_is_that_of_the_importance_of_what_is_left(study):
  order = study.greedy_order(3)
  for count, head in enumerate(order):
    importance = study.importance(order[:count])
    left = [other for other in study.heads if other not in order[:count]]
    assert head in left and importance[head] == min(importance[other] for other in left)
  assert study.greedy_order(0) == []


def test_greedy_and_plain_orders_differ_where_importance_changes(study, monkeypatch):
  """Without its first head, a made-up model needs the second most of all."""
  first, second, third, *_ = heads = study.heads
  whole = {head: 10.0 + number for number, head in enumerate(heads)}

  def importance(closed=()):
    return {**whole, second: 100.0} if first in closed else whole

  monkeypatch.setattr(study, "importance", importance)
  order = study.greedy_order(len(heads))
  assert order[:2] == [first, third] and order[-1] == second and {*order} == {*heads}


def looks_of(weights, eos, is_cross=False):
  looks = Looks()
  looks.add(np.asarray(weights), eos)
  return looks.summary(is_cross)


def test_looks_of_known_rows():
  # Offsets +1 and +1; the second row looks at EOS.
  summary = looks_of([[0.0, 0.9, 0.1], [0.0, 0.2, 0.8]], 2)
  assert summary["offset"] == 1
  assert summary["offset_share"] == 1.0
  assert summary["eos_share"] == 0.5
  assert summary["role"] == "position +1"
  assert summary["confidence"] == pytest.approx((0.9 + 0.2) / 2)  # EOS's weight left out
  rows = [0.9 * np.log(0.9) + 0.1 * np.log(0.1), 0.2 * np.log(0.2) + 0.8 * np.log(0.8)]
  assert summary["entropy"] == pytest.approx(-np.mean(rows))


def test_roles_of_known_rows():
  assert looks_of(np.eye(4)[[3, 0, 3, 3]], 3, is_cross=True)["role"] == "end of sentence"
  rising = np.eye(5)[[0, 0, 1, 2, 2, 3, 3, 3]]
  assert looks_of(rising, 4, is_cross=True)["role"] == "alignment"
  assert looks_of(rising, 4)["role"] == "-"


def test_looks_see_the_models_own_weights(study):
  """Shares and confidences lie between 0 and 1, and the decoder cannot look ahead."""
  looks = study.looks()
  assert looks.keys() == set(study.heads)
  for (attention, _, _), found in looks.items():
    assert 0 < found["confidence"] <= 1
    assert 0 <= found["entropy"] < 5
    assert 0 < found["offset_share"] <= 1
    if attention == "decoder":
      assert found["offset"] <= 0
      assert found["eos_share"] == 0


def test_rank_correlation():
  assert rank_correlation([1, 2, 3, 10], [2, 4, 9, 11]) == pytest.approx(1)
  assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
  # scipy.stats.spearmanr
  assert rank_correlation([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)


def test_importance_within_a_layer():
  importance = {("cross", 0, 0): 3.0, ("cross", 0, 1): 4.0, ("cross", 1, 0): 0.0}
  expected = {("cross", 0, 0): 0.6, ("cross", 0, 1): 0.8, ("cross", 1, 0): 0.0}
  assert within_layer(importance) == expected


@pytest.mark.slow
def test_the_command_writes_table_data_and_figures(workdir, capsys):
  flags = ["--sentences=6", "--bleu_sentences=2", "--beam_size=1", "--random_orders=1"]
  assert command_line(["heads", f"--workdir={workdir}", *flags]) == 0
  page = capsys.readouterr().out
  assert "By mask the most important head is" in page
  assert "| cross 2.4 |" in page
  data = json.loads((workdir / "heads/heads.json").read_text())
  assert len(data["heads"]) == 24
  assert data["pruning"].keys() == {"least important first", "random order 1"}
  curve = data["pruning"]["least important first"]
  assert curve[0]["closed"] == 0
  assert curve[0]["perplexity"] == pytest.approx(data["perplexity"])
  assert -1 <= data["rank_correlation"] <= 1
  for name in ("importance", "masked", "confidence", "pruning"):
    assert (workdir / f"heads/heads_{name}.png").stat().st_size > 5000


def test_further_orders_of_pruning(study, monkeypatch):
  """Each is a curve of its own; each point has as many heads closed as it says."""
  rows = [
    dict(zip(("attention", "layer", "head"), head, strict=True), importance=-number)
    for number, head in enumerate(study.heads)
  ]
  rows = [dict(row, importance_in_layer=-row["importance"]) for row in rows]
  closed = lambda gates: sum(int(np.sum(np.asarray(gate) == 0)) for gate in jax.tree.leaves(gates))
  monkeypatch.setattr(study, "perplexity", closed)
  monkeypatch.setattr(study, "score", closed)
  monkeypatch.setattr(study, "greedy_order", lambda count: study.heads[::-1][:count])
  settings = report.StudySettings(random_orders=1, plain_order=True, greedy_order=True)
  curves = report._pruning(study, rows, settings, print)
  assert list(curves) == [
    "least important first",
    "least important first, not normalized",
    "random order 1",
    "least important first, measured again after each",
  ]
  for points in curves.values():
    assert all({*point.values()} == {point["closed"]} for point in points)
    assert [point["closed"] for point in points] == [0, 2, 5, 7, 10, 12, 14, 17, 19, 22]
  orders = report._pruning_orders(rows, settings)
  assert orders["least important first"] == study.heads
  assert orders["least important first, not normalized"] == study.heads[::-1]
  assert report._pruning(study, rows, report.StudySettings(random_orders=0), print).keys() == {
    "least important first"
  }


def test_the_orders_are_flags(workdir, monkeypatch):
  given = []
  monkeypatch.setattr(report, "report", lambda *args, **_: given.append(args[2]) or [])
  for flags in ([], ["--plain_order"], ["--greedy_order"]):
    assert command_line(["heads", f"--workdir={workdir}", *flags]) == 0
  orders = [(settings.plain_order, settings.greedy_order) for settings in given]
  assert orders == [(False, False), (True, False), (False, True)]


def test_wrong_numbers_are_named(workdir, capsys):
  assert command_line(["heads", f"--workdir={workdir}", "--sentences=0"]) == 2
  assert "--sentences: 0 is too small" in capsys.readouterr().err


def test_a_rise_from_a_perplexity_that_is_not_finite_is_nan():
  inf = math.inf
  nan = math.nan
  pairs = [(6.0, 3.0), (inf, 3.0), (3.0, inf), (inf, inf), (nan, 3.0)]
  rises = [log_rise(*pair) for pair in pairs]
  np.testing.assert_array_equal(rises, [math.log(2.0), inf, nan, nan, nan])


@pytest.mark.parametrize("source, reference", [("\n\n", "a\nb\n"), ("a\nb\n", "\n\n")])
def test_blank_files_are_named(tmp_path, source, reference):
  (tmp_path / "source").write_text(source)
  (tmp_path / "reference").write_text(reference)
  paths = dict(source=str(tmp_path / "source"), reference=str(tmp_path / "reference"))
  with pytest.raises(DataError, match="has no line with text on both sides"):
    report._text(tiny_run.tiny_config().data, report.StudySettings(**paths), ".")
