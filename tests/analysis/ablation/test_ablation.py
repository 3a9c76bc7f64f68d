"""Tests of `ablate`: only missing runs are made, a failed row or a kill stops nothing."""

import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_run
from patience import PATIENCE

from transformer_jax.analysis.ablation import report, runs
from transformer_jax.analysis.ablation.identity import (
  UNKNOWN_TEXT,
  Text,
  averaged_steps,
  old_settings_hash,
  settings_hash,
)
from transformer_jax.analysis.ablation.outcome import Outcome, TableRow
from transformer_jax.analysis.ablation.results import (
  load_outcome,
  result_path,
  save_outcome,
  why_not_taken,
)
from transformer_jax.analysis.ablation.runs import missing_runs, run_all
from transformer_jax.analysis.ablation.significance import (
  bootstrap_p,
  has_same_sign,
  is_beyond_seed_noise,
  seed_p,
)
from transformer_jax.analysis.ablation.table import entries
from transformer_jax.cli.ablate import read_table
from transformer_jax.cli.main import run as command_line
from transformer_jax.errors import ConfigError, DataError

SETTINGS = dict(
  train_steps=6,
  evaluate_every=6,
  checkpoint_every=3,
  log_every=2,
  bleu_sentences=0,
  beam_size=1,
  numbers_limit=500,
  num_buckets=1,
)


@pytest.fixture
def table(tmp_path):
  """base, one head, and a row whose updates are soon not finite."""
  folder = tmp_path / "table"
  folder.mkdir()
  (folder / "base.flags").write_text("\n".join(tiny_run.flags(**SETTINGS)) + "\n")
  (folder / "a_heads_eighth.flags").write_text(
    "--flagfile=base.flags\n--num_heads=1\n--d_k=32\n--d_v=32\n"
  )
  (folder / "z_broken.flags").write_text(
    "--flagfile=base.flags\n--learning_rate_scale=1e30\n--max_nonfinite_updates=1\n"
  )
  return folder


def flags_of(table, *more):
  return ["ablate", f"--table={table}", f"--workdir={table.parent}/runs", "--seeds=2", *more]


def cells(page, name):
  return next(
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in page.splitlines()
    if line.startswith(f"| {name} ")
  )


@pytest.mark.slow
def test_the_rest_goes_on_and_nothing_is_done_twice(table, capsys, monkeypatch):
  assert command_line(flags_of(table)) == 1
  page = capsys.readouterr().out
  row = cells(page, "A h=1")
  assert row[1] == "num_heads=1, d_k=32, d_v=32"
  assert row[3] == "5.29, 24.9"
  assert row[4] == "2"
  assert " +- " in row[5]
  assert cells(page, "z_broken")[5] == "not run"
  assert "- z_broken: seed 1 failed: NonFiniteError" in page
  results = table.parent / "runs/results"
  assert page == (results / "table.md").read_text()
  assert (results / "table.png").exists()
  base = json.loads((results / "base-seed2.json").read_text())
  assert base["seed"] == 2
  assert base["steps"] == [6]
  assert base["parameters"] == 70 * 32 + 6336 + 10_496
  assert len(json.dumps(base)) < 50_000

  monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
  assert command_line(flags_of(table, "--rows=base,a_heads_eighth")) == 0
  assert cells(capsys.readouterr().out, "A h=1") == row
  assert command_line(flags_of(table, "--print_table")) == 0
  assert cells(capsys.readouterr().out, "A h=1") == row


@pytest.mark.slow
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
  watched = row.config.replace(seed=7, log_every=1, attention_kernel="reference")
  assert settings_hash(row.config) == settings_hash(watched)
  assert settings_hash(row.config) != settings_hash(row.config.replace(train_steps=7))
  path = result_path(tmp_path, row, 1)
  path.write_text('{"settings_sha256": "other"}')
  assert load_outcome(tmp_path, row, 1) is None
  path.write_text("{}")
  with pytest.raises(DataError, match=r"base-seed1\.json: is not the result of a run"):
    load_outcome(tmp_path, row, 1)


def test_rows_are_in_the_papers_order(table):
  for name in ("big", "e_learned_positions", "aardvark"):
    (table / f"{name}.flags").write_text("--flagfile=base.flags\n")
  assert list(read_table(table)) == [
    "base",
    "a_heads_eighth",
    "e_learned_positions",
    "big",
    "aardvark",
    "z_broken",
  ]
  (table / "base.flags").unlink()
  with pytest.raises(ConfigError, match=r"has no base\.flags"):
    read_table(table)


def test_wrong_rows_are_named(table, capsys):
  assert command_line(flags_of(table, "--rows=a_heads_eight")) == 2
  assert "'a_heads_eight' is not a row of" in capsys.readouterr().err


def outcome(nll, statistics=None, bleu=20.0):
  nll = np.asarray(nll, float)
  tokens = np.full(len(nll), 10)
  if statistics is None:
    statistics = np.tile([5, 3, 2, 1, 8, 7, 6, 5, 8, 9], (len(nll), 1))
  perplexity = float(np.exp(nll.sum() / tokens.sum()))
  summary = dict(
    perplexity=perplexity,
    bleu=bleu,
    bleu_name="sacrebleu",
    parameters=1,
    update_hours=1.0,
    git_revision="r",
    seed=1,
    hardware=dict(device="cpu", processor="p", cores=2),
  )
  return Outcome(summary, statistics, -nll, tokens)


def test_a_bootstrap_sees_a_real_difference_and_no_other():
  rng = np.random.default_rng(0)
  base = [outcome(20 + rng.standard_normal(300)) for _ in range(2)]
  higher = [outcome(1 - base[0].log_probs_S) for _ in range(2)]
  assert bootstrap_p(higher, base, "perplexity") < 0.01
  assert bootstrap_p(base, base, "perplexity") == 1.0

  def null_p():
    ours, theirs = (outcome(20 + rng.standard_normal(200)) for _ in range(2))
    return bootstrap_p([ours], [theirs], "perplexity", resamples=200)

  # Under the null hypothesis p is below 0.1 about one time in ten.
  assert 0.03 < np.mean([null_p() < 0.1 for _ in range(200)]) < 0.2
  worse = np.tile([4, 2, 1, 0, 8, 7, 6, 5, 8, 9], (300, 1))
  worse[::3] += [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
  assert bootstrap_p([outcome(np.ones(300), worse)], base, "bleu") < 0.01


class KnownText(Text):
  """A Text with made-up fingerprints."""

  def __init__(self, split="valid", **fingerprints):
    super().__init__(split)
    self._fingerprints = fingerprints

  def fingerprints(self, data):
    return self._fingerprints


ROW = TableRow("base", tiny_run.tiny_config(**SETTINGS))
OTHER = TableRow("a_heads_eighth", tiny_run.tiny_config(**SETTINGS, num_heads=1))


def kept(results, row=ROW, seed=1, text=UNKNOWN_TEXT, nll=(20.0,) * 4, **summary):
  """Writes a result and returns the content of its file."""
  result = outcome(nll, np.tile([1, 1], (len(nll), 1)))
  made = dict(
    result.summary,
    row=row.name,
    seed=seed,
    split=text.split,
    steps=[6],
    settings_sha256=settings_hash(row.config),
    sentences=len(nll),
    score="exact_match",
    exact_match=1.0,
  )
  save_outcome(results, row, text, dataclasses.replace(result, summary={**made, **summary}))
  return json.loads(result_path(results, row, seed, text.split).read_text())


def page_of(results, text=UNKNOWN_TEXT, rows=(ROW, OTHER), seeds=(1, 2)):
  found = entries(list(rows), list(seeds), results, {}, text)
  return "\n".join(report.write(found, results, "Title", "command"))


def test_results_of_valid_and_of_test_are_two(tmp_path):
  kept(tmp_path, exact_match=1.0)
  assert load_outcome(tmp_path, ROW, 1, Text("test")) is None
  assert missing_runs([ROW], [1], tmp_path, Text("test")) == [(ROW, 1)]
  kept(tmp_path, text=Text("test"), perplexity=5.0)
  assert load_outcome(tmp_path, ROW, 1, Text("test")).summary["perplexity"] == 5.0
  assert load_outcome(tmp_path, ROW, 1).summary["perplexity"] > 7
  assert not missing_runs([ROW], [1], tmp_path)
  # Once both had one name.
  result_path(tmp_path, ROW, 1, "test").rename(result_path(tmp_path, ROW, 1))
  assert load_outcome(tmp_path, ROW, 1) is None
  assert load_outcome(tmp_path, ROW, 1, Text("test")).summary["split"] == "test"
  assert why_not_taken(tmp_path, ROW, 1, UNKNOWN_TEXT) == "base-seed1.json was scored on test"
  assert "- base: seed 1 is not run: base-seed1.json was scored on test" in page_of(tmp_path)


def test_results_on_other_text_are_not_this_tables(tmp_path):
  text = KnownText(train="a", valid="b")
  assert kept(tmp_path, text=text)["text"] == dict(train="a", valid="b")
  assert load_outcome(tmp_path, ROW, 1, text)
  for other in (KnownText(train="z", valid="b"), KnownText(train="a", valid="z")):
    assert load_outcome(tmp_path, ROW, 1, other) is None
    assert "was made with another" in why_not_taken(tmp_path, ROW, 1, other)
  assert load_outcome(tmp_path, ROW, 1, UNKNOWN_TEXT)  # the text is not here
  assert "do not say on which text" not in page_of(tmp_path, text)
  kept(tmp_path, seed=2)
  assert load_outcome(tmp_path, ROW, 2, text)
  assert "1 of the runs do not say on which text they were made" in page_of(tmp_path, text)


def test_the_text_is_identified_by_its_bytes(tmp_path):
  for name in ("s", "t"):
    (tmp_path / name).write_text("a\n")
  data = tiny_run.tiny_config(
    data_source="text", train_source="s", train_target="t", valid_source="s", valid_target="t"
  ).data
  before = Text("valid", tmp_path).fingerprints(data)
  assert sorted(before) == ["train", "valid"]
  assert Text("valid", tmp_path).fingerprints(data) == before
  (tmp_path / "s").write_text("b\n")
  assert Text("valid", tmp_path).fingerprints(data) != before
  (tmp_path / "s").unlink()
  absent = Text("valid", tmp_path)
  assert absent.fingerprints(data) == {} and "there is no file" in absent.missing[0]


def test_another_result_at_a_results_path_is_kept(tmp_path):
  kept(tmp_path, ROW, perplexity=5.0)
  row = TableRow("base", ROW.config.replace(train_steps=7))
  kept(tmp_path, row)
  assert load_outcome(tmp_path, row, 1) and load_outcome(tmp_path, ROW, 1) is None
  (aside,) = tmp_path.glob("base-seed1-*.json")
  assert json.loads(aside.read_text())["perplexity"] == 5.0


def test_a_result_copied_to_another_seed_is_not_taken(tmp_path):
  kept(tmp_path)
  result_path(tmp_path, ROW, 2).write_text(result_path(tmp_path, ROW, 1).read_text())
  assert load_outcome(tmp_path, ROW, 2) is None
  assert why_not_taken(tmp_path, ROW, 2, UNKNOWN_TEXT) == "base-seed2.json is of seed 1"


@pytest.mark.parametrize(
  "damage",
  [
    "parameters",
    "hardware",
    "exact_match",
    "statistics",
    "update_hours",
    dict(hardware={}),
    dict(hardware=None),
    dict(perplexity="3"),
    dict(update_hours=None),
    dict(score="chrf"),
    dict(score=["f1"]),
    dict(sentences=3),
    dict(sentences=0),
    dict(tokens="<f8:eJw="),
    dict(tokens=7),
    dict(log_probs="!"),
    dict(text=[1]),
  ],
  ids=str,
)
def test_a_damaged_result_is_named(tmp_path, damage):
  """A damage is the name that is missing, or the values that are wrong."""
  content = kept(tmp_path)
  if isinstance(damage, str):
    del content[damage]
  else:
    content.update(damage)
  result_path(tmp_path, ROW, 1).write_text(json.dumps(content))
  with pytest.raises(
    DataError, match=r"base-seed1\.json: is not the result of a run: .*; remove it"
  ):
    load_outcome(tmp_path, ROW, 1)


@pytest.mark.parametrize(
  "text", ["", "[]", "7", "null", '{"settings_sha256": 7}', "[" * 100_000, "\xff"], ids=range(7)
)
def test_a_foreign_file_is_named(tmp_path, text):
  result_path(tmp_path, ROW, 1).write_text(text, encoding="latin-1")
  with pytest.raises(DataError, match=r"base-seed1\.json: is not the result of a run"):
    load_outcome(tmp_path, ROW, 1)


def test_long_sentences_keep_their_lengths(tmp_path):
  statistics = np.array(
    [[40_000, 39_000, 38_000, 37_000, 50_000, 49_999, 49_998, 49_997, 50_000, 70_000]]
  )
  summary = dict(
    outcome([1.0]).summary,
    row="base",
    settings_sha256=settings_hash(ROW.config),
    sentences=1,
    score="bleu",
  )
  result = Outcome(summary, statistics, np.array([-5.0]), np.array([40_000]))
  save_outcome(tmp_path, ROW, Text(), result)
  found = load_outcome(tmp_path, ROW, 1)
  np.testing.assert_array_equal(found.statistics_SK, statistics)
  assert found.tokens_S.tolist() == [40_000] and found.log_probs_S.tolist() == [-5.0]


def test_the_averaged_checkpoints_are_part_of_the_settings_hash(tmp_path):
  last = ROW.config
  mean = ROW.config.replace(average_last=2)
  assert settings_hash(last) == settings_hash(last.replace(checkpoint_every=2))
  assert settings_hash(mean) != settings_hash(mean.replace(checkpoint_every=2))
  # An old result's hash lacks checkpoint_every; only its steps tell.
  old = TableRow("base", mean)
  kept(tmp_path, old, settings_sha256=old_settings_hash(mean), steps=[3, 6])
  assert load_outcome(tmp_path, old, 1)
  assert load_outcome(tmp_path, TableRow("base", mean.replace(checkpoint_every=2)), 1) is None
  for count, total, steps in ((3, 11, [4, 8, 11]), (2, 12, [8, 12]), (3, 5, [4, 5])):
    config = mean.replace(average_last=count, train_steps=total, checkpoint_every=4)
    assert averaged_steps(config) == steps


def test_how_trees_are_searched_for_is_of_the_result():
  config = tiny_run.tiny_config(task="parsing", data_source="grammar", embedding_sharing="none")
  assert settings_hash(config) != settings_hash(config.replace(constrained=True))


def test_the_committed_results_are_what_they_were():
  folder = pathlib.Path(__file__).resolve().parents[3] / "experiments/table3/small"
  rows = [TableRow(name, config) for name, config in read_table(folder).items()]
  done = [load_outcome(folder / "results", row, seed) for row in rows for seed in (1, 2, 3)]
  files = list((folder / "results").glob("*-seed*.json"))
  assert files and sum(found is not None for found in done) == len(files)
  for found in filter(None, done):
    for name, error in (("bleu", 1e-9), ("perplexity", 1e-6)):
      given = found.score_from_sentences(name)
      assert given == pytest.approx(found.summary[name], rel=error)


def test_rows_on_other_sentences_are_not_compared_by_sentence(tmp_path):
  for seed in (1, 2):
    kept(tmp_path, seed=seed)
    kept(tmp_path, OTHER, seed=seed, nll=(21.0,) * 5)
  page = page_of(tmp_path)
  assert "- A h=1: no p of perplexity: scored on different numbers of sentences: 4, 5" in page
  assert cells(page, "A h=1")[7].endswith("(p=-)")


def test_rows_on_other_text_are_not_compared_by_sentence(tmp_path):
  for row, mark in ((ROW, "b"), (OTHER, "c")):
    kept(tmp_path, row, text=KnownText(train="a", valid=mark))
  assert "no p of exact match: scored on different texts" in page_of(tmp_path)


def test_statistics_that_do_not_give_the_score_are_not_resampled(tmp_path):
  """Once tokenized hypotheses stood beside raw references."""
  kept(tmp_path)
  kept(tmp_path, OTHER, exact_match=0.5)
  page = page_of(tmp_path)
  assert "no p of exact match: the sentences of seed 1 give 1.00, and 0.50 was reported" in page
  assert "no p of perplexity" not in page


def test_a_score_that_is_not_finite_stops_no_table(tmp_path):
  content = kept(tmp_path, OTHER, perplexity=float("inf"), nll=(np.inf,) * 4)
  assert content["perplexity"] is None
  old = dict(kept(tmp_path, OTHER, seed=2), perplexity=float("inf"))
  result_path(tmp_path, OTHER, 2).write_text(json.dumps(old))
  for seed in (1, 2):
    kept(tmp_path, seed=seed)
  page = page_of(tmp_path)
  assert cells(page, "A h=1")[5] == "not finite" and cells(page, "A h=1")[7] == "-"
  assert (tmp_path / "table.png").exists()
  json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)


def test_the_papers_differences_stand_beside_ours(tmp_path, monkeypatch):
  for seed in (1, 2):
    kept(tmp_path, seed=seed, nll=(20.0 + seed / 100,) * 4)
    kept(tmp_path, OTHER, seed=seed, nll=(21.0 + seed / 100,) * 4)
  figures = []
  monkeypatch.setattr(report.plots, "save", lambda figure, _: figures.append(figure))
  page = " ".join(page_of(tmp_path).split())
  assert "sign of perplexity - base is the paper's in 1 of 1 rows, and in 1 of the 1 that" in page
  papers, ours = figures[0].axes[2].get_legend_handles_labels()[0]
  # A nat more in each ten tokens: exp(0.1) - 1. The paper's row of one head: 5.29 where base has
  # 4.92 (Table 3). Base itself is at 0.
  np.testing.assert_allclose(list(ours.lines[0].get_xdata()), [0, 100 * np.expm1(0.1)], atol=0.1)
  np.testing.assert_allclose(papers.get_xdata(), [0, 7.52], atol=0.01)

  for seed in (1, 2):
    kept(tmp_path, OTHER, seed=seed, nll=(19.0 + seed / 100,) * 4)
  page = " ".join(page_of(tmp_path).split())
  assert "is the paper's in 0 of 1 rows, and in 0 of the 1 that are larger" in page


def test_a_table_of_nothing(tmp_path):
  page = page_of(tmp_path)
  assert "0 runs" in page and "nothing can be said" in page
  assert not (tmp_path / "table.png").exists()


def test_a_table_that_cannot_be_written_is_printed(table, capsys):
  (table / "table.md").mkdir()  # in the file's place
  assert command_line(["ablate", f"--table={table}", f"--results={table}", "--print_table"]) == 0
  printed = capsys.readouterr()
  assert "| base |" in printed.out
  assert "warning: " in printed.err and "table.md: cannot be written" in printed.err


def test_a_table_that_cannot_be_written_stops_no_run(tmp_path, monkeypatch):
  result = outcome([1.0])
  messages = []

  def run(row, seed, *_):
    return dataclasses.replace(result, summary=dict(result.summary, seed=seed))

  monkeypatch.setattr(runs, "_run", run)

  def after_each():
    raise DataError("x.json", "is not the result of a run")

  failures = run_all(
    [ROW],
    [1, 2],
    workdir=tmp_path,
    results=tmp_path,
    data_root=".",
    text=UNKNOWN_TEXT,
    log=messages.append,
    after_each=after_each,
  )
  assert not failures and result_path(tmp_path, ROW, 2).exists()
  assert "no table yet: x.json: is not the result of a run" in messages


def test_a_row_without_test_data_fails_before_it_is_trained(tmp_path, monkeypatch):
  (tmp_path / "s").write_text("a\n")
  files = dict(train_source="s", train_target="s", valid_source="s", valid_target="s")
  row = TableRow("base", tiny_run.tiny_config(data_source="text", **files))
  monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained"))
  failures = run_all(
    [row],
    [1],
    workdir=tmp_path,
    results=tmp_path,
    data_root=tmp_path,
    text=Text("test", tmp_path),
    log=lambda _: None,
    after_each=lambda: None,
  )
  assert failures["base", 1].startswith("ConfigError: --split=test: the row has no test data; ")


def test_seeds_below_one_are_refused(table, capsys):
  assert command_line(flags_of(table, "--only_seed=-1")) == 2
  assert "--only_seed: -1 is too small" in capsys.readouterr().err
  assert command_line(flags_of(table, "--seeds=100000")) == 2
  assert "--seeds=100000: is too many; at most 1000" in capsys.readouterr().err


def test_a_large_seed_is_one_seed_and_any_name_is_a_row(table, capsys):
  (table / "a,b.flags").write_text("--flagfile=base.flags\n--d_ff=48\n")
  (table / ".#base.flags").symlink_to("user@host")  # an editor's lock
  flags = flags_of(table, "--only_seed=2147483647", "--print_commands")
  assert command_line(flags) == 0
  rows = [shlex.split(line)[-2] for line in capsys.readouterr().out.splitlines()]
  assert rows == ["--rows=base", "--rows=a_heads_eighth", "--rows=a\\,b", "--rows=z_broken"]
  assert command_line([*flags, "--rows=a\\,b"]) == 0
  assert len(capsys.readouterr().out.splitlines()) == 1
  (table.parent / "file").touch()
  assert command_line([*flags[:2], f"--workdir={table.parent}/file/x"]) == 6


@pytest.mark.slow
def test_a_table_of_parsers_has_f1(tmp_path, capsys):
  folder = tmp_path / "table"
  folder.mkdir()
  (tmp_path / "trees").write_text("(TOP (S (NP (D the) (N dog)) (VP (V barks))))\n" * 20)
  settings = dict(
    SETTINGS,
    task="parsing",
    data_source="treebank",
    embedding_sharing="none",
    train_trees="trees",
    valid_trees="trees",
    tokenizer="subword_nmt",
  )
  (folder / "base.flags").write_text("\n".join(tiny_run.flags(**settings)) + "\n")
  (folder / "a_heads_eighth.flags").write_text("--flagfile=base.flags\n--num_heads=1\n")
  assert command_line(flags_of(folder, f"--data_root={tmp_path}")) == 0
  page = capsys.readouterr().out
  assert "| F1 |" in page and "no p of" not in page
  assert cells(page, "A h=1")[9] in ("yes, -", "no, -")


@pytest.mark.slow
def test_a_table_of_tokenized_text(tmp_path, capsys):
  folder = tmp_path / "table"
  folder.mkdir()
  (tmp_path / "text").write_text("A man, running.\nTwo dogs don't play.\n" * 10)
  files = {
    f"{split}_{side}": "text"
    for split in ("train", "valid", "test")
    for side in ("source", "target")
  }
  settings = dict(
    SETTINGS, data_source="text", preprocessing="moses_lowercase", tokenizer="subword_nmt", **files
  )
  (folder / "base.flags").write_text("\n".join(tiny_run.flags(**settings)) + "\n")
  for split in ("valid", "test"):
    assert command_line(flags_of(folder, f"--data_root={tmp_path}", f"--split={split}")) == 0
  assert "scored on test" in capsys.readouterr().out
  assert len(list((tmp_path / "runs/results").glob("*-test.json"))) == 2


def test_noise_of_seeds():
  # With equal spread Welch's t has 4 degrees of freedom at 3 + 3 seeds; its 5% point is 2.776.
  spread = np.array([-1.0, 0.0, 1.0])
  error = np.sqrt(2 / 3)
  assert seed_p(spread, spread + 2.776 * error) == pytest.approx(0.05, abs=1e-4)
  assert is_beyond_seed_noise(spread, spread + 2.7 * error) is False
  assert is_beyond_seed_noise(spread, spread + 2.8 * error) is True
  assert seed_p([1.0, 1.0], [2.0, 2.0]) == 0.0
  assert seed_p([1.0, 1.0], [1.0, 1.0]) == 1.0
  assert seed_p([1.0, np.nan], [2.0, 2.1]) is None
  assert is_beyond_seed_noise([1.0, 1.1, 0.9], [2.0, 2.1, 1.9]) is True
  assert is_beyond_seed_noise([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]) is False
  assert is_beyond_seed_noise([1.0], [2.0, 2.1]) is None
  assert has_same_sign(0.3, -0.1) is False
  assert has_same_sign(-2, -0.1) is True
  assert has_same_sign(1, 0.0) is None


@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing(table):
  """The same command, killed twice, ends with the table of a run that was left alone."""
  (table / "z_broken.flags").unlink()
  longer = tiny_run.flags(**{**SETTINGS, "train_steps": 150, "checkpoint_every": 10})
  (table / "base.flags").write_text("\n".join(longer) + "\n")
  command = [sys.executable, "-m", "transformer_jax", *flags_of(table)]
  whole = subprocess.run(
    [*command, f"--workdir={table.parent}/whole"], capture_output=True, text=True, check=True
  )
  runs_folder = table.parent / "runs"
  kill_during(command, signal.SIGKILL, runs_folder / "base/seed-1/metrics.jsonl")
  kill_during(command, signal.SIGTERM, runs_folder / "a_heads_eighth/seed-1/metrics.jsonl")
  again = subprocess.run(command, capture_output=True, text=True, check=True)
  rows = rows_of(again.stdout)
  assert rows == rows_of(whole.stdout)
  assert len(rows) == 4


def kill_during(command, signal_number, metrics):
  """Starts the command and sends it a signal once it has written some metrics."""
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  end = time.monotonic() + PATIENCE
  while not (metrics.exists() and metrics.stat().st_size > 300):
    assert process.poll() is None
    assert time.monotonic() < end
    time.sleep(0.01)
  os.kill(process.pid, signal_number)
  process.wait(PATIENCE)


def rows_of(page):
  return [line for line in page.splitlines() if line.startswith("| ")]
