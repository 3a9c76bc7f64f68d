"""`--ensemble`: runs that answer, score and are evaluated together; those that do not fit."""

import json
import shutil

import numpy as np
import pytest
from tiny_run import SEED, tiny_config

from transformer_jax import parallel
from transformer_jax.cli.main import run as command_line
from transformer_jax.errors import ConfigError
from transformer_jax.runs.ensemble import Ensemble, load_together
from transformer_jax.runs.train import train
from transformer_jax.runs.trained_model import TrainedModel, load_run

pytestmark = pytest.mark.slow

TEXTS = ["forty two", "nine hundred", "", "six"]
PAIRS = [("forty two", "zweiundvierzig"), ("six", "sechs"), ("nine hundred", "neun")]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
  """Another run with the same tokenizer; its model is another one, with a table of positions."""
  workdir = tmp_path_factory.mktemp("other") / "run"
  settings = dict(seed=SEED + 1, train_steps=10, d_ff=48, bleu_sentences=0)
  settings |= dict(positions="learned", max_positions=48)
  train(tiny_config(**settings), workdir, ".")
  return workdir


def log_softmax(logits):
  logits = logits.astype(np.float64)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_scores_are_those_of_the_mean_probabilities(trained, other):
  both = load_together(trained, str(other))
  members = [TrainedModel.load(path) for path in (trained, other)]
  for pair, (log_prob, num_tokens) in zip(PAIRS, both.log_probs(PAIRS), strict=True):
    probabilities = np.mean([np.exp(log_softmax(m.logits(*pair))) for m in members], axis=0)
    np.testing.assert_allclose(both.logits(*pair), np.log(probabilities), atol=1e-4)
    target = both.encode(pair[1], side="target")
    expected = np.log(probabilities[np.arange(len(target)), target]).sum()
    assert (log_prob, num_tokens) == (pytest.approx(expected, rel=1e-4), len(target))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_found_tokens_have_the_probability_of_the_ensemble(trained, other, beam_size):
  """Step by step with a cache for each member, and all at once without."""
  both = load_together(trained, str(other), beam_size=beam_size)
  assert isinstance(both, Ensemble) and both.config.model.max_positions == 48
  rows = parallel.num_devices()
  source_BS = np.array([both.encode("forty two")] * rows, np.int32)
  result = both._search(1)(source_BS, np.full(rows, 12, np.int32), np.zeros(rows, np.int32))
  tokens = result.tokens_BMT[0, 0, : result.lengths_BM[0, 0]]
  sides = (parallel.shard_rows(source_BS), parallel.shard_rows(np.tile(tokens, (rows, 1))))
  logits_TC = parallel.gather_rows(both._logits(both._params, *sides), 1)[0]
  log_prob = log_softmax(logits_TC)[np.arange(len(tokens)), tokens].sum()
  assert result.log_probs_BM[0, 0] == pytest.approx(log_prob, rel=1e-3)


def test_a_run_with_its_copy_is_the_run(trained, run_copy):
  alone = load_together(trained)
  assert not isinstance(alone, Ensemble)
  twice = load_together(trained, str(run_copy))
  for one, two in zip(alone.n_best(TEXTS, 1), twice.n_best(TEXTS, 1), strict=True):
    assert [answer.text for answer in one] == [answer.text for answer in two]
    np.testing.assert_allclose([a.score for a in one], [a.score for a in two], rtol=1e-4)


def test_evaluations_name_the_members(run_copy, other, capsys):
  command = ["evaluate", f"--workdir={run_copy}", "--split=valid"]
  assert command_line(command) == 0
  alone = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert command_line([*command, f"--ensemble={other}"]) == 0
  result = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert result["ensemble"] == [
    dict(workdir=str(run_copy), steps=[40]),
    dict(workdir=str(other), steps=[10]),
  ]
  assert result["headline"].endswith(", ensemble of 2") and "ensemble" not in alone
  assert result["loss"] != alone["loss"] and result["set_sha256"] == alone["set_sha256"]
  kept = sorted(path.name for path in (run_copy / "evaluations").glob("*.json"))
  assert len(kept) == 2 and kept[0].startswith("valid-step40-ensemble2-")
  assert json.loads((run_copy / "evaluations" / kept[0]).read_text()) == result
  assert json.loads((run_copy / "evaluations/valid-step40.json").read_text()) == alone


def test_translate_and_score_take_them(run_copy, other, tmp_path, capsys):
  source, target = tmp_path / "source", tmp_path / "target"
  source.write_text("".join(f"{text}\n" for text, _ in PAIRS))
  target.write_text("".join(f"{text}\n" for _, text in PAIRS))
  flags = [f"--workdir={run_copy}", f"--ensemble={other}"]
  assert command_line(["translate", *flags, f"--input={source}", "--with_scores"]) == 0
  lines = capsys.readouterr().out.splitlines()
  both = load_together(run_copy, str(other))
  expected = [n_best[0] for n_best in both.n_best([text for text, _ in PAIRS], 1)]
  assert [line.split("\t")[2] for line in lines] == [answer.text for answer in expected]
  scores = [float(line.split("\t")[1]) for line in lines]
  np.testing.assert_allclose(scores, [answer.score for answer in expected], atol=1e-4)
  assert command_line(["score", *flags, f"--source={source}", f"--target={target}"]) == 0
  lines = capsys.readouterr().out.splitlines()
  expected = [log_prob for log_prob, _ in both.log_probs(PAIRS)]
  np.testing.assert_allclose([float(line) for line in lines[:-1]], expected, atol=1e-4)


def test_runs_that_do_not_fit_are_refused_by_name(trained, other, tmp_path, capsys):
  with pytest.raises(ConfigError, match=f"--ensemble={trained}: is named twice"):
    load_together(trained, f"{other},{trained}")
  copy = shutil.copytree(other, tmp_path / "copy")
  config = json.loads((copy / "config.json").read_text())
  config["settings"]["target_language"] = "fr"
  (copy / "config.json").write_text(json.dumps(config))
  with pytest.raises(ConfigError, match=r"is a run of --target_language=fr, and .* of de"):
    load_together(trained, str(copy))
  settings = dict(train_steps=2, vocab_size=60, evaluate_every=2, bleu_sentences=0)
  train(tiny_config(**settings), tmp_path / "smaller", ".")
  with pytest.raises(ConfigError, match="smaller: has another tokenizer than "):
    load_together(trained, str(tmp_path / "smaller"))
  assert command_line(["translate", f"--workdir={trained}", f"--ensemble={tmp_path}/none"]) == 6
  assert f"{tmp_path}/none" in capsys.readouterr().err


def test_what_each_member_has_of_its_own_is_refused(trained, run_copy):
  both = load_together(trained, str(run_copy))
  for call in (
    both.parameters,
    lambda: both.attention("six"),
    lambda: both.with_heads_closed([("cross", 0, 0)]),
    both.without_division,
  ):
    with pytest.raises(TypeError, match="load one of its runs"):
      call()


@pytest.mark.parametrize("is_shorter_first", [False, True])
def test_runs_with_tables_of_positions_go_together_in_any_order(trained, other, is_shorter_first):
  """The shorter table holds for both, also where the first run was trained on longer sentences."""
  run, shorter = (load_run(workdir, "last", {}) for workdir in (trained, other))
  config = shorter.config.replace(max_length=30, max_positions=30)
  runs = [run, shorter._replace(config=config)]
  both = Ensemble(["a", "b"], runs[::-1] if is_shorter_first else runs)
  assert both.config.model.max_positions == 30
  assert both.config.data.max_length == (30 if is_shorter_first else run.config.data.max_length)


@pytest.mark.parametrize("is_table_first", [False, True])
def test_a_table_of_positions_holds_for_all_runs(trained, is_table_first):
  """Also where another run's own `max_source_length`, which nothing reads, is shorter."""
  run = load_run(trained, "last", {})
  learned = dict(positions="learned", max_positions=30, max_length=30)
  table = run._replace(config=run.config.replace(**learned))
  sinusoids = dict(positions="sinusoidal", max_source_length=24)
  other = run._replace(config=run.config.replace(**sinusoids))
  runs = [table, other] if is_table_first else [other, table]
  both = Ensemble(["a", "b"], runs).config
  assert (both.model.positions, both.model.max_positions) == ("learned", 30)
  assert both.decode.max_source_length == runs[0].config.decode.max_source_length
