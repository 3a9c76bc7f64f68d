"""`--patience` ends a run when evaluations bring no better score, whenever it was interrupted."""

import dataclasses
import json

import pytest
from tiny_run import metrics_of, tiny_config

from transformer_jax.analysis.ablation.identity import settings_hash
from transformer_jax.analysis.ablation.outcome import TableRow
from transformer_jax.analysis.ablation.runs import Text, run_all
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.runs.doctor import examine
from transformer_jax.runs.patience import Patience
from transformer_jax.runs.train import train
from transformer_jax.runs.validation import Validation
from transformer_jax.strict_json import json_text

# An evaluation every 5 updates: 2 and 3 are no better than 1, 4 is, 5 to 7 are no better than 4.
LOSSES = {5: 3.0, 10: 3.5, 15: 3.0, 20: 2.0, 25: 2.5, 30: 2.0, 35: float("nan"), 40: 1.0}
COUNTS = [0, 1, 2, 0, 1, 2, 3]


def patient_config(**settings):
  """Returns the Config of a run whose evaluations and checkpoints are not at the same steps."""
  defaults = dict(patience=3, evaluate_every=5, checkpoint_every=10, bleu_sentences=0, keep_best=1)
  return tiny_config(**{**defaults, **settings})


@pytest.fixture
def scripted(monkeypatch):
  """Evaluations find LOSSES; after `killed_at` is set, that of this step ends the process."""
  killed_at = []

  def evaluate(self, step, params, should_stop):
    if step in killed_at:
      raise Killed
    loss = LOSSES[step]
    return dict(step=step, split="valid", loss=loss, perplexity=loss, perplexity_seconds=0.0)

  monkeypatch.setattr(Validation, "__call__", evaluate)
  return killed_at


class Killed(BaseException):
  """Stands for the end of the process."""


def counts(workdir):
  lines = metrics_of(workdir)
  return [line["evaluations_without_improvement"] for line in lines if line["split"] == "valid"]


def checkpoints_of(workdir):
  checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
  return checkpoints.regular_steps(), checkpoints.best_step()


def test_a_run_ends_after_so_many_evaluations_and_says_so_again(scripted, tmp_path):
  run = tmp_path / "run"
  train(patient_config(), run, ".")
  assert counts(run) == COUNTS
  assert checkpoints_of(run) == ([20, 30, 35], 20)
  done = "done: step 35: 3 evaluations brought no better loss than 2 of step 20 (--patience=3)"
  log = (run / "log.txt").read_text()
  assert log.splitlines()[-1].endswith(done)
  before = metrics_of(run)
  train(patient_config(), run, ".")
  assert (run / "log.txt").read_text().count(done) == 2
  assert metrics_of(run) == before
  lines, result, error = examine(run)
  assert error is None and result["is_done"]
  assert "with a larger --patience it would resume from step 35" in lines[-1]
  # With more patience it does go on.
  train(patient_config(patience=4), run, ".")
  assert counts(run) == [*COUNTS, 0]
  assert "done: step 40\n" in (run / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("step", [15, 30, 35])
def test_a_killed_run_counts_on(scripted, step, tmp_path):
  """Before the evaluation of a step, whether or not the step has a checkpoint."""
  run = tmp_path / "run"
  scripted.append(step)
  with pytest.raises(Killed):
    train(patient_config(), run, ".")
  scripted.clear()
  train(patient_config(), run, ".")
  assert counts(run) == COUNTS
  assert checkpoints_of(run) == ([20, 30, 35], 20)


def test_less_patience_ends_a_run_where_it_stands(scripted, tmp_path):
  run = tmp_path / "run"
  train(patient_config(train_steps=30), run, ".")
  assert counts(run) == COUNTS[:6]
  train(patient_config(patience=2), run, ".")
  assert "done: step 30: 2 evaluations brought no better" in (run / "log.txt").read_text()


def test_scores_of_another_kind_begin_a_new_count():
  config = patient_config(patience=2)
  kind = dict(name="loss")
  first = Patience.resumed(config, kind, [])
  lines = [dict(step=1, split="valid", **first.add(1, -1.0))]
  lines.append(dict(step=2, split="valid", **first.add(2, float("nan"))))
  lines = json.loads(json_text(lines))
  assert Patience.resumed(config, kind, lines) == first
  assert not first.is_at_end
  first.add(3, -1.0)
  assert first.is_at_end
  other = Patience.resumed(config, dict(name="bleu"), lines)
  assert (other.count, other.best_step) == (0, 0)
  assert Patience.resumed(config, kind, [dict(step=1, split="valid")]).count == 0
  assert dataclasses.replace(first, limit=0).add(4, 0.0) == {}


@pytest.mark.slow
def test_a_row_of_a_table_may_end_early(scripted, tmp_path):
  """The steps of evaluations then decide its result."""
  row = TableRow("base", patient_config())
  (tmp_path / "results").mkdir()
  failures = run_all(
    [row],
    [1],
    workdir=tmp_path / "runs",
    results=tmp_path / "results",
    data_root=".",
    text=Text(),
    log=lambda message: None,
    after_each=lambda: None,
  )
  assert not failures
  assert json.loads((tmp_path / "results/base-seed1.json").read_text())["steps"] == [35]
  patient = row.config
  assert settings_hash(patient) != settings_hash(patient.replace(evaluate_every=7))
  impatient = patient.replace(patience=0)
  assert settings_hash(impatient) == settings_hash(impatient.replace(evaluate_every=7))
