"""`train` resumes the same run, refuses another one, and repeats evaluations that were cut off."""

import itertools
import json
import os
import shutil
import signal

import pytest
from tiny_run import SEED, metrics_of, tiny_config

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.errors import CheckpointError, ConfigError, Interrupted
from transformer_jax.runs import train as train_module
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.same_run import check_same_settings
from transformer_jax.runs.startup_report import unscored_lines
from transformer_jax.runs.train import train
from transformer_jax.runs.validation import Validation
from transformer_jax.workdir.folder import whole_settings

TEXT = "".join(f"{a} {b}\n" for a in "abcdefgh" for b in "ijklmnop")


def text_config(folder, **settings):
  """Writes text files to a folder; returns the Config of a run of two updates on them."""
  folder.mkdir(exist_ok=True)
  files = {
    f"{split}_{side}": str(folder / f"{split}.{side}")
    for split in ("train", "valid")
    for side in ("source", "target")
  }
  for path in files.values():
    if not os.path.exists(path):
      with open(path, "w", encoding="utf-8") as file:
        file.write(TEXT)
  return tiny_config(
    data_source="text",
    tokenizer="segmented",
    bleu_sentences=0,
    **{"train_steps": 2, "checkpoint_every": 2, "evaluate_every": 2, **files, **settings},
  )


def state_of(workdir):
  """Returns what equal runs have in common."""
  return digest_of(workdir), metrics_of(workdir)


def log_of(workdir):
  return (workdir / "log.txt").read_text()


@pytest.mark.slow
def test_data_that_moved_is_the_same_data_and_a_test_set_may_be_added(tmp_path):
  train(text_config(tmp_path / "here"), tmp_path / "run", ".")
  (tmp_path / "here").rename(tmp_path / "there")
  test = tmp_path / "test"
  test.write_text(TEXT)
  config = text_config(
    tmp_path / "there",
    train_steps=4,
    test_source=str(test),
    test_target=str(test),
    preprocessed_splits="test",
  )
  train(config, tmp_path / "run", ".")
  assert "resumed at step 2" in log_of(tmp_path / "run")
  assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"] == config.to_flat()
  (tmp_path / "there" / "train.target").write_text(TEXT.replace("a i", "a j"))
  with pytest.raises(CheckpointError, match="the training data or the tokenizer has changed"):
    train(text_config(tmp_path / "there", train_steps=6), tmp_path / "run", ".")


@pytest.mark.parametrize(
  "same, other",
  [
    (
      dict(train_trees="x", valid_trees="y", test_trees="z", treebank="t"),
      dict(linearization="t2t"),
    ),
    (
      dict(train_sections="2", valid_sections="3", test_sections="4"),
      dict(task="parsing", embedding_sharing="none", data_source="grammar"),
    ),
    (dict(tfds_data_dir="x", tfds_splits="train,validation,test"), dict(tfds_name="x")),
    (
      dict(dataset="x", dataset_splits="a,b,c", dataset_config="d", source_column="e"),
      dict(data_source="tfds"),
    ),
    (dict(preprocessed_splits="test"), dict(preprocessed_splits="train")),
    (dict(preprocessed_splits=" test , "), dict(preprocessed_splits="test,valid")),
    (
      dict(train_source="x", train_target="y", valid_source="x", valid_target="y"),
      dict(seed=SEED + 1),
    ),
    (dict(test_source="x", test_target="y"), dict(source_language="x")),
    ({}, dict(bpe_codes="x")),
    ({}, dict(vocabulary_file="x")),
    ({}, dict(numbers_limit=200)),
  ],
)
def test_the_place_of_the_text_is_not_a_setting_of_the_run(same, other):
  stored = tiny_config().to_flat()
  check_same_settings(tiny_config(**same), stored, "run")
  with pytest.raises(ConfigError, match=r"=.*: the run in run was started with "):
    check_same_settings(tiny_config(**other), stored, "run")


@pytest.mark.slow
def test_a_file_of_words_may_move_and_not_change(tmp_path):
  def train_with(name, steps):
    config = text_config(tmp_path, vocabulary_file=str(tmp_path / name), train_steps=steps)
    train(config, tmp_path / "run", ".")

  words = [*"abcdefghijklmnop"]
  (tmp_path / "words").write_text("\n".join(words))
  train_with("words", 2)
  (tmp_path / "words").rename(tmp_path / "moved")
  train_with("moved", 4)
  (tmp_path / "others").write_text("\n".join(words[::-1]))
  with pytest.raises(ConfigError, match=r"_file=.*others: gives another tokenizer than .*moved"):
    train_with("others", 6)


def test_fewer_updates_than_are_done_are_refused(run_copy):
  before = (run_copy / "config.json").read_text()
  with pytest.raises(
    ConfigError, match=r"--train_steps=30: the run in .* is at step 40 already; give"
  ):
    train(tiny_config(train_steps=30), run_copy, ".")
  assert (run_copy / "config.json").read_text() == before


def test_metrics_are_not_wiped_where_the_checkpoints_have_gone(run_copy):
  before = metrics_of(run_copy)
  shutil.rmtree(run_copy / "checkpoints")
  with pytest.raises(
    CheckpointError, match=r"no checkpoint, but metrics.jsonl reaches step 40; restore"
  ):
    train(tiny_config(), run_copy, ".")
  assert metrics_of(run_copy) == before


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(trained, run_copy):
  shutil.rmtree(run_copy / "checkpoints")
  lines = (run_copy / "metrics.jsonl").read_text().splitlines(keepends=True)
  (run_copy / "metrics.jsonl").write_text("".join(lines[:2]))
  train(tiny_config(), run_copy, ".")
  assert "the run starts anew; metrics.jsonl had reached step 20" in log_of(run_copy)
  assert state_of(run_copy) == state_of(trained)


def test_settings_hold_without_their_file(run_copy):
  settings = json.loads((run_copy / "config.json").read_text())["settings"]
  (run_copy / "config.json").unlink()
  index = run_copy / "tokenizer" / "tokenizer.json"
  before = index.stat().st_mtime_ns
  with pytest.raises(
    ConfigError, match=r"--label_smoothing=0.3: the run in .* was started with 0.1"
  ):
    train(tiny_config(label_smoothing=0.3), run_copy, ".")
  train(tiny_config(attention_kernel="auto"), run_copy, ".")
  assert json.loads((run_copy / "config.json").read_text())["settings"] == settings
  assert index.stat().st_mtime_ns == before
  assert "config.json is gone" in log_of(run_copy)


def test_settings_hold_where_their_file_was_edited(run_copy):
  path = run_copy / "config.json"
  other = SEED + 1
  path.write_text(path.read_text().replace(f'"seed": {SEED}', f'"seed": {other}'))
  with pytest.raises(ConfigError, match=f"--seed={other}: the run in .* was started with {SEED}"):
    train(tiny_config(seed=other), run_copy, ".")


def test_older_settings_get_the_default_of_a_later_setting():
  settings = tiny_config().to_flat()
  del settings["constrained"]
  assert whole_settings(settings, "x") == tiny_config().to_flat()
  with pytest.raises(ConfigError, match="x: has no settings"):
    whole_settings(None, "x")


class Killed(BaseException):
  """Stands for the end of the process."""


def evaluation_that(monkeypatch, at_step, action):
  """Makes the evaluation of a step begin with an action."""
  evaluate = Validation.__call__

  def after_action(self, step, params, should_stop):
    if step == at_step:
      action()
    return evaluate(self, step, params, should_stop)

  monkeypatch.setattr(Validation, "__call__", after_action)


def killed():
  raise Killed


@pytest.mark.parametrize("step", [20, pytest.param(40, marks=pytest.mark.slow)])
def test_a_kill_in_an_evaluation_costs_no_update(step, trained, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    evaluation_that(patch, step, killed)
    with pytest.raises(Killed):
      train(tiny_config(), tmp_path / "run", ".")
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps()[-1] == step
  train(tiny_config(), tmp_path / "run", ".")
  assert f"resumed at step {step}" in log_of(tmp_path / "run")
  assert state_of(tmp_path / "run") == state_of(trained)
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).scores().keys() == {20, 40}


@pytest.mark.parametrize("step", [pytest.param(20, marks=pytest.mark.slow), 40])
def test_a_signal_in_an_evaluation_ends_it(step, trained, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    evaluation_that(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted) as caught:
      train(tiny_config(), tmp_path / "run", ".")
  assert caught.value.exit_code == 143
  assert f"step {step}: valid loss" not in log_of(tmp_path / "run")
  train(tiny_config(), tmp_path / "run", ".")
  assert state_of(tmp_path / "run") == state_of(trained)


def test_a_kill_between_score_and_line_repeats_only_the_evaluation(trained, run_copy):
  lines = (run_copy / "metrics.jsonl").read_text().splitlines(keepends=True)
  (run_copy / "metrics.jsonl").write_text("".join(lines[:-1]))
  train(tiny_config(), run_copy, ".")
  assert state_of(run_copy) == state_of(trained)
  before = (run_copy / "metrics.jsonl").read_text()
  train(tiny_config(), run_copy, ".")
  assert (run_copy / "metrics.jsonl").read_text() == before


def test_scores_of_another_kind_are_not_compared(run_copy):
  checkpoints = Checkpoints(run_copy / "checkpoints", read_only=True)
  assert checkpoints.scores().keys() == {20, 40}
  train(tiny_config(train_steps=60, bleu_sentences=0), run_copy, ".")
  assert "warning: --bleu_sentences changed after step 40: scores from here on" in log_of(run_copy)
  assert checkpoints.scores() == {60: -metrics_of(run_copy)[-1]["loss"]}


def test_scores_on_another_validation_text_are_not_compared(tmp_path):
  train(text_config(tmp_path / "data"), tmp_path / "run", ".")
  (tmp_path / "data" / "valid.target").write_text(TEXT.replace("a i", "a j"))
  train(text_config(tmp_path / "data", train_steps=4), tmp_path / "run", ".")
  assert "warning: the validation text changed after step 2" in log_of(tmp_path / "run")
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).scores().keys() == {4}


@pytest.mark.parametrize(
  "settings, said",
  [
    (dict(evaluate_every=15, keep_best=1), "every 30th step and the last"),
    (dict(evaluate_every=15), None),
    (dict(evaluate_every=20, keep_best=1), None),
    (dict(evaluate_every=5, keep_best=1), None),
  ],
)
def test_keep_best_among_few_scored_steps_warns(settings, said):
  lines = unscored_lines(tiny_config(**settings).train)
  assert [said in line for line in lines] == [True] * bool(said)


@pytest.mark.parametrize("epsilon", [0.0, 1e-45, 1e-39])
def test_an_epsilon_that_is_0_in_float32_is_refused(epsilon, tmp_path):
  with pytest.raises(ConfigError, match=f"--adam_epsilon={epsilon:g}: is 0 in float32"):
    train(tiny_config(adam_epsilon=epsilon), tmp_path / "run", ".")


class StoppedHooks:
  """A run's hooks that stop the loop after some updates, and change nothing else."""

  def __init__(self, hooks, updates):
    self.report = hooks.report
    self.save = hooks.save
    self.evaluate = hooks.evaluate
    self.give_up = hooks.give_up
    self._is_last = itertools.chain([False] * updates, itertools.repeat(True))

  def should_stop(self):
    return next(self._is_last)


def stopped_at(step, monkeypatch, workdir, **settings):
  """Trains until a signal stops the run before an update."""
  run_updates = train_module.run_updates

  def stopping(config, state, stream, train_step, reset_sums, hooks, reported):
    first = int(train_module.parallel.to_host(state.step))
    stopped = StoppedHooks(hooks, step - first)
    return run_updates(config, state, stream, train_step, reset_sums, stopped, reported)

  with monkeypatch.context() as patch:
    patch.setattr(train_module, "run_updates", stopping)
    with pytest.raises(Interrupted):
      train(tiny_config(**settings), workdir, ".")


def updates_told(workdir):
  """Returns over how many updates the speeds in each line about training were measured."""
  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  lines = (line for line in lines if line["split"] == "train")
  figures = ("target_tokens", "updates_per_second", "target_tokens_per_second")
  values = ([line[name] for name in figures] for line in lines)
  return [round(tokens * updates / tokens_a_second) for tokens, updates, tokens_a_second in values]


@pytest.mark.slow
def test_a_checkpoint_says_which_updates_have_a_line(tmp_path, monkeypatch):
  """Twice a run is stopped before its first line, with another log_every; then it loses metrics."""
  run = tmp_path / "run"
  stopped_at(7, monkeypatch, run)
  stopped_at(8, monkeypatch, run, log_every=3)
  train(tiny_config(train_steps=10, log_every=5, bleu_sentences=0), run, ".")
  assert updates_told(run) == [10]
  (run / "metrics.jsonl").unlink()
  train(tiny_config(train_steps=15, log_every=5, evaluate_every=10, bleu_sentences=0), run, ".")
  assert updates_told(run) == [5]


def test_a_checkpoint_saved_by_a_signal_can_be_the_last_of_a_run(tmp_path, monkeypatch):
  run = tmp_path / "run"
  stopped_at(13, monkeypatch, run)
  checkpoints = Checkpoints(run / "checkpoints", read_only=True)
  assert checkpoints.regular_steps() == [10]
  train(tiny_config(train_steps=13), run, ".")
  assert checkpoints.regular_steps() == [10, 13]
  assert checkpoints.scores().keys() == {13}
