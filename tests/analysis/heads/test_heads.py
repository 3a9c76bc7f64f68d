"""`heads`: gates, importance and looks by hand on a tiny trained run, and what the command writes."""

import json
import math

import jax
import numpy as np
import pytest
import tiny_run

import transformer_jax
from transformer_jax.analysis.heads import importance as head_importance
from transformer_jax.analysis.heads import report as head_report
from transformer_jax.analysis.heads.importance import HeadStudy, rank_correlation, within_layer
from transformer_jax.cli.main import run as command_line
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.runs.train import train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("heads") / "run"
  train(tiny_run.tiny_config(num_heads=4, d_k=8, d_v=8, num_layers=2, train_steps=20), folder, ".")
  return folder


@pytest.fixture(scope="module")
def study(workdir):
  translator = transformer_jax.load(workdir, beam_size=1)
  pairs = [pair for pair, _ in zip(open_source(translator.config.data).pairs("valid"), range(10))]
  return HeadStudy(translator, pairs, bleu_sentences=4, batch_size=4)


def test_every_head_has_a_gate(study):
  assert len(study.heads) == 3 * 2 * 4
  gates = study.without([("cross", 1, 3), ("encoder", 0, 0)])
  assert gates.cross[1, 3] == 0 and gates.encoder[0, 0] == 0
  assert sum(int(np.sum(np.asarray(g) == 0)) for g in jax.tree.leaves(gates)) == 2
  alone = study.alone(("decoder", 1, 2))
  assert (
    list(alone.decoder[1]) == [0, 0, 1, 0]
    and np.all(alone.decoder[0] == 1)
    and np.all(alone.cross == 1)
  )


def test_perplexity_is_that_of_the_pairs(study):
  pairs = zip(study._sources, study._targets)
  log_probs = sum(
    float(
      -head_importance._nll_B(
        study._model, study._params, study.open, np.array([s]), np.array([t])
      )[0]
    )
    for s, t in pairs
  )
  assert study.perplexity(study.open) == pytest.approx(
    np.exp(-log_probs / sum(map(len, study._targets))), rel=1e-5
  )
  assert study.perplexity(study.without(study.heads)) != pytest.approx(
    study.perplexity(study.open), rel=1e-3
  )


def test_importance_is_the_mean_slope_of_each_sentence(study):
  """Against finite differences of one gate, sentence by sentence, before the absolute value."""
  importance = study.importance()
  for attention, layer, head in (("encoder", 0, 1), ("decoder", 1, 3), ("cross", 1, 0)):
    slopes = []
    for source, target in zip(study._sources, study._targets, strict=True):
      nll = []
      for sign in (1, -1):
        gates = {name: np.array(g) for name, g in vars(HeadGates.open(study._config.model)).items()}
        gates[attention][layer, head] += sign * 0.02
        nll.append(
          float(
            head_importance._nll_B(
              study._model,
              study._params,
              HeadGates(**gates),
              np.array([source]),
              np.array([target]),
            )[0]
          )
        )
      slopes.append((nll[0] - nll[1]) / 0.04)
    assert importance[attention, layer, head] == pytest.approx(
      np.mean(np.abs(slopes)), rel=0.05, abs=2e-4
    )


def test_looks_of_known_rows():
  looks = head_importance._Looks()
  looks.add(np.array([[0.0, 0.9, 0.1], [0.0, 0.2, 0.8]]), 2)  # offsets +1 and +1; the second on EOS
  summary = looks.summary(is_cross=False)
  assert (summary["offset"], summary["offset_share"], summary["eos_share"], summary["role"]) == (
    1,
    1.0,
    0.5,
    "position +1",
  )
  assert summary["confidence"] == pytest.approx((0.9 + 0.2) / 2)  # EOS's weight left out
  assert summary["entropy"] == pytest.approx(
    -np.mean([0.9 * np.log(0.9) + 0.1 * np.log(0.1), 0.2 * np.log(0.2) + 0.8 * np.log(0.8)])
  )
  looks = head_importance._Looks()
  looks.add(np.eye(4)[[3, 0, 3, 3]], 3)
  assert looks.summary(is_cross=True)["role"] == "end of sentence"
  looks = head_importance._Looks()
  looks.add(np.eye(5)[[0, 0, 1, 2, 2, 3, 3, 3]], 4)
  assert (
    looks.summary(is_cross=True)["role"] == "alignment"
    and looks.summary(is_cross=False)["role"] == "-"
  )


def test_looks_see_the_models_own_weights(study):
  """A run of one layer type: shares and confidences lie between 0 and 1, and the decoder cannot look ahead."""
  looks = study.looks()
  assert looks.keys() == set(study.heads)
  for (attention, _, _), found in looks.items():
    assert (
      0 < found["confidence"] <= 1 and 0 <= found["entropy"] < 5 and 0 < found["offset_share"] <= 1
    )
    if attention == "decoder":
      assert found["offset"] <= 0 and found["eos_share"] == 0


def test_rank_correlation():
  assert rank_correlation([1, 2, 3, 10], [2, 4, 9, 11]) == pytest.approx(1)
  assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
  assert rank_correlation([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(
    0.9486833
  )  # scipy.stats.spearmanr
  assert within_layer({("cross", 0, 0): 3.0, ("cross", 0, 1): 4.0, ("cross", 1, 0): 0.0}) == {
    ("cross", 0, 0): 0.6,
    ("cross", 0, 1): 0.8,
    ("cross", 1, 0): 0.0,
  }


def test_the_command_writes_table_data_and_figures(workdir, capsys):
  assert (
    command_line(
      [
        "heads",
        f"--workdir={workdir}",
        "--sentences=6",
        "--bleu_sentences=2",
        "--beam_size=1",
        "--random_orders=1",
      ]
    )
    == 0
  )
  page = capsys.readouterr().out
  assert "By mask the most important head is" in page and "| cross 2.4 |" in page
  data = json.loads((workdir / "heads/heads.json").read_text())
  assert len(data["heads"]) == 24 and data["pruning"].keys() == {
    "least important first",
    "random order 1",
  }
  curve = data["pruning"]["least important first"]
  assert curve[0]["closed"] == 0 and curve[0]["perplexity"] == pytest.approx(data["perplexity"])
  assert -1 <= data["rank_correlation"] <= 1
  for name in ("importance", "masked", "confidence", "pruning"):
    assert (workdir / f"heads/heads_{name}.png").stat().st_size > 5000
  assert command_line(["heads", f"--workdir={workdir}", "--sentences=0"]) == 2
  assert "--sentences: 0 is too small" in capsys.readouterr().err


def test_a_rise_from_what_is_not_finite_is_not_known():
  inf, nan = math.inf, math.nan
  pairs = (6.0, 3.0), (inf, 3.0), (3.0, inf), (inf, inf), (nan, 3.0)
  rises = [head_report._rise(*pair) for pair in pairs]
  np.testing.assert_array_equal(rises, [math.log(2.0), inf, nan, nan, nan])
