"""`ablate`: runs what is missing and no more, survives a row that fails and a kill, and its statistics are right."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_run

from transformer_jax.analysis import ablation, ablation_table
from transformer_jax.analysis.ablation import Outcome, TableRow
from transformer_jax.cli.ablate import read_table
from transformer_jax.cli.main import run as command_line
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.strict_json import json_text

SETTINGS = dict(train_steps=6, evaluate_every=6, checkpoint_every=3, log_every=2, bleu_sentences=0, numbers_limit=500)


@pytest.fixture
def table(tmp_path):
  """base, one head, and a row whose updates are soon not finite."""
  folder = tmp_path / "table"
  folder.mkdir()
  (folder / "base.flags").write_text("\n".join(tiny_run.flags(**SETTINGS)) + "\n")
  (folder / "a_heads_eighth.flags").write_text("--flagfile=base.flags\n--num_heads=1\n--d_k=32\n--d_v=32\n")
  (folder / "z_broken.flags").write_text("--flagfile=base.flags\n--learning_rate_scale=1e30\n--max_nonfinite_updates=1\n")
  return folder


def flags_of(table, *more):
  return ["ablate", f"--table={table}", f"--workdir={table.parent}/runs", "--seeds=2", *more]


def cells(page, name):
  return next([cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith(f"| {name} "))


def test_the_rest_goes_on_and_nothing_is_done_twice(table, capsys, monkeypatch):
  assert command_line(flags_of(table)) == 1
  page = capsys.readouterr().out
  row = cells(page, "A h=1")
  assert row[1] == "num_heads=1, d_k=32, d_v=32" and row[3] == "5.29, 24.9" and row[4] == "2" and " +- " in row[5]
  assert cells(page, "z_broken")[5] == "not run" and "- z_broken: seed 1 failed: NonFiniteError" in page
  assert page == (table.parent / "runs/results/table.md").read_text() and (table.parent / "runs/results/table.png").exists()
  base = json.loads((table.parent / "runs/results/base-seed2.json").read_text())
  assert base["seed"] == 2 and base["steps"] == [6] and base["parameters"] == 70 * 32 + 6336 + 10_496 and len(json.dumps(base)) < 50_000

  monkeypatch.setattr(ablation, "train", lambda *_, **__: pytest.fail("trained again"))
  assert command_line(flags_of(table, "--rows=base,a_heads_eighth")) == 0
  assert cells(capsys.readouterr().out, "A h=1") == row
  assert command_line(flags_of(table, "--print_table")) == 0
  assert cells(capsys.readouterr().out, "A h=1") == row


def test_commands_for_a_cluster_are_those_of_the_missing_runs(table, capsys):
  assert command_line(flags_of(table, "--rows=base", "--print_commands")) == 0
  commands = capsys.readouterr().out.splitlines()
  assert len(commands) == 2 and commands[1].endswith("--rows=base --only_seed=2")
  assert command_line(commands[1].split()[1:]) == 0
  capsys.readouterr()
  assert command_line(flags_of(table, "--rows=base", "--print_commands")) == 0
  assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_row_with_other_settings_is_not_done(table, tmp_path):
  row = TableRow("base", tiny_run.tiny_config(**SETTINGS))
  assert ablation.settings_hash(row.config) == ablation.settings_hash(row.config.replace(seed=7, log_every=1, attention_kernel="reference"))
  assert ablation.settings_hash(row.config) != ablation.settings_hash(row.config.replace(train_steps=7))
  path = ablation.result_path(tmp_path, row, 1)
  path.write_text('{"settings_sha256": "other"}')
  assert ablation.load_outcome(tmp_path, row, 1) is None
  path.write_text("{}")
  with pytest.raises(DataError, match="base-seed1.json: is not the result of a run"):
    ablation.load_outcome(tmp_path, row, 1)


def test_a_perplexity_that_is_infinite_is_so_again(tmp_path):
  row, nothing = TableRow("base", tiny_run.tiny_config(**SETTINGS)), np.zeros((1, 10))
  result = dict(settings_sha256=ablation.settings_hash(row.config), perplexity=float("inf"),
                sentences=1, tokens=ablation._pack(nothing[0, :1].astype("<i2")),
                bleu_statistics=ablation._pack(nothing.astype("<i2")),
                log_probs=ablation._pack(nothing[0, :1].astype("<f4")))
  ablation.result_path(tmp_path, row, 1).write_text(json_text(result))
  assert ablation.load_outcome(tmp_path, row, 1).summary["perplexity"] == float("inf")


def test_rows_stand_in_the_papers_order(table):
  for name in ("big", "e_learned_positions", "aardvark"):
    (table / f"{name}.flags").write_text("--flagfile=base.flags\n")
  assert list(read_table(table)) == ["base", "a_heads_eighth", "e_learned_positions", "big", "aardvark", "z_broken"]
  (table / "base.flags").unlink()
  with pytest.raises(ConfigError, match="has no base.flags"):
    read_table(table)


def test_wrong_rows_are_named(table, capsys):
  assert command_line(flags_of(table, "--rows=a_heads_eight")) == 2
  assert "'a_heads_eight' is no row of" in capsys.readouterr().err


def outcome(nll, statistics=None, bleu=20.0):
  nll = np.asarray(nll, float)
  tokens = np.full(len(nll), 10)
  statistics = np.tile([5, 3, 2, 1, 8, 7, 6, 5, 8, 9], (len(nll), 1)) if statistics is None else statistics
  perplexity = float(np.exp(nll.sum() / tokens.sum()))
  summary = dict(perplexity=perplexity, bleu=bleu, bleu_name="sacrebleu", parameters=1, update_hours=1.0, git_revision="r", seed=1,
                 hardware=dict(device="cpu", processor="p", cores=2))
  return Outcome(summary, statistics, -nll, tokens)


def test_a_bootstrap_sees_a_real_difference_and_no_other():
  rng = np.random.default_rng(0)
  base = [outcome(20 + rng.standard_normal(300)) for _ in range(2)]
  assert ablation_table.bootstrap_p([outcome(base[0].log_probs_S * -1 + 1) for _ in range(2)], base, "perplexity") < 0.01
  assert ablation_table.bootstrap_p(base, base, "perplexity") == 1.0
  # Under the null hypothesis p is below 0.1 about one time in ten.
  low = np.mean([ablation_table.bootstrap_p([outcome(20 + rng.standard_normal(200))], [outcome(20 + rng.standard_normal(200))],
                                            "perplexity", resamples=200) < 0.1 for _ in range(200)])
  assert 0.03 < low < 0.2
  worse = np.tile([4, 2, 1, 0, 8, 7, 6, 5, 8, 9], (300, 1))
  worse[::3] += [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
  assert ablation_table.bootstrap_p([outcome(np.ones(300), worse)], base, "bleu") < 0.01


def test_noise_of_seeds():
  assert ablation_table._beyond_noise([1.0, 1.1, 0.9], [2.0, 2.1, 1.9]) is True
  assert ablation_table._beyond_noise([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]) is False
  assert ablation_table._beyond_noise([1.0], [2.0, 2.1]) is None
  assert ablation_table._agrees(0.3, -0.1) is False and ablation_table._agrees(-2, -0.1) is True and ablation_table._agrees(1, 0.0) is None


@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing(table):
  """The same command ends with the table of a run left alone."""
  (table / "z_broken.flags").unlink()
  (table / "base.flags").write_text("\n".join(tiny_run.flags(**{**SETTINGS, "train_steps": 150, "checkpoint_every": 10})) + "\n")
  command = [sys.executable, "-m", "transformer_jax", *flags_of(table)]
  whole = subprocess.run([*command, f"--workdir={table.parent}/whole"], capture_output=True, text=True, check=True)
  for signal_number in (signal.SIGKILL, signal.SIGTERM):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 100
    log = table.parent / f"runs/{'base' if signal_number == signal.SIGKILL else 'a_heads_eighth'}/seed-1/metrics.jsonl"
    while not (log.exists() and log.stat().st_size > 300):
      assert process.poll() is None and time.monotonic() < end
      time.sleep(0.01)
    os.kill(process.pid, signal_number)
    process.wait(100)
  again = subprocess.run(command, capture_output=True, text=True, check=True)
  rows = [[line for line in run.stdout.splitlines() if line.startswith("| ")] for run in (whole, again)]
  assert rows[0] == rows[1] and len(rows[0]) == 4
