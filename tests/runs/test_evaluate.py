"""`evaluate` and `score`: figures that agree with one another, files that stay, errors that name a flag."""

import json

import pytest

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import Config
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.metrics.bleu import corpus_bleu
from transformer_jax.runs.evaluate import evaluate
from transformer_jax.runs.translator import _steps_to_average
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.runs.workdir import Workdir


def last_json(capsys):
  return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_it_prints_and_keeps_the_same_figures(run_copy, capsys):
  assert command_line(["evaluate", f"--workdir={run_copy}", "--split=valid"]) == 0
  result = last_json(capsys)
  assert result == json.loads((run_copy / "evaluations/valid-step40.json").read_text())
  hypotheses = (run_copy / "evaluations/valid-step40.hypotheses.txt").read_text().splitlines()
  assert len(hypotheses) == result["sentences"] and result["test_set"].startswith(f"{len(hypotheses)} sentences")
  assert result["signature"].startswith("nrefs:1|case:mixed") and result["name"] == "sacrebleu"
  assert result["paper_bleu"]["signature"].startswith("nrefs:1|case:mixed|punct:ascii|tok:moses-de|hyphens:split")


def test_perplexity_is_that_of_training(trained, run_copy):
  """The last line of metrics on valid, from batches of another shape."""
  lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
  result = evaluate(run_copy, split="valid", overrides={})
  assert result["loss"] == pytest.approx(lines[-1]["loss"], rel=1e-5)
  assert result["perplexity"] == pytest.approx(perplexity_of(result["loss"]))


def test_the_mean_of_the_last_checkpoints_is_another_model(run_copy):
  one, mean = (evaluate(run_copy, split="valid", overrides=dict(average_last=n)) for n in (1, 3))
  assert one["steps"] == [40] and mean["steps"] == [20, 30, 40] and one["loss"] != mean["loss"]
  assert evaluate(run_copy, split="valid", overrides={}, step=30)["steps"] == [30]
  with pytest.raises(CheckpointError, match="there is no checkpoint of step 10; there are 20, 30, 40"):
    evaluate(run_copy, split="valid", overrides={}, step=10)


def test_temporary_and_missing_checkpoints_are_no_part_of_a_mean(run_copy, capsys):
  meta = run_copy / "checkpoints/30/meta.json"
  meta.write_text(meta.read_text().replace('"temporary": false', '"temporary": true'))
  assert _steps_to_average(Checkpoints(run_copy / "checkpoints", read_only=True), Config.from_flat(Workdir(run_copy).read_config()).replace(
      average_last=3), None, run_copy) == [20, 40]
  assert "only 2 checkpoints are there to average, not --average_last=3" in capsys.readouterr().err
  with pytest.raises(ConfigError, match="--average_last: 4 checkpoints are to be averaged, and --keep_checkpoints=3 are kept"):
    evaluate(run_copy, split="valid", overrides=dict(average_last=4))


def test_files_instead_of_a_split(run_copy, tmp_path):
  (tmp_path / "s").write_text("one\ntwo\nthree\n")
  (tmp_path / "r").write_text("eins\nzwei\ndrei\n")
  result = evaluate(run_copy, overrides={}, source=tmp_path / "s", reference=tmp_path / "r")
  hypotheses = (run_copy / "evaluations/files-step40.hypotheses.txt").read_text().splitlines()
  assert result["bleu"] == corpus_bleu(hypotheses, ["eins", "zwei", "drei"])["score"] and result["set"] == "files"
  with pytest.raises(ConfigError, match="--reference: is missing"):
    evaluate(run_copy, overrides={}, source=tmp_path / "s")
  (tmp_path / "r").write_text("eins\n")
  with pytest.raises(DataError, match="has 1 lines, and .* has 3"):
    evaluate(run_copy, overrides={}, source=tmp_path / "s", reference=tmp_path / "r")


def test_score_sums_what_it_writes(trained, tmp_path, capsys):
  (tmp_path / "s").write_text("one\ntwo\n")
  (tmp_path / "t").write_text("eins\nzwei\n")
  assert command_line(["score", f"--workdir={trained}", f"--source={tmp_path}/s", f"--target={tmp_path}/t"]) == 0
  *lines, totals = capsys.readouterr().out.splitlines()
  totals = json.loads(totals)
  assert totals["log_prob"] == pytest.approx(sum(map(float, lines)), abs=1e-5) and totals["pairs"] == 2
  assert totals["perplexity"] == pytest.approx(perplexity_of(-totals["log_prob"] / totals["tokens"]))
  (tmp_path / "t").write_text("eins\n")
  assert command_line(["score", f"--workdir={trained}", f"--source={tmp_path}/s", f"--target={tmp_path}/t"]) == 3


def test_digest_is_of_a_step(trained, capsys):
  for flags in ([], ["--step=40"], ["--step=30"]):
    assert command_line(["digest", f"--workdir={trained}", *flags]) == 0
  latest, same, earlier = capsys.readouterr().out.split()
  assert latest == same != earlier and len(latest) == 64
