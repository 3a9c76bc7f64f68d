"""--checkpoint=best, last or a step: the checkpoint that a command works with."""

import json
import shutil

import pytest

import transformer_jax
from transformer_jax.checkpoints import Checkpoints, checksums
from transformer_jax.cli.main import run as command_line
from transformer_jax.errors import CheckpointError


@pytest.fixture(scope="module")
def scored(trained, tmp_path_factory):
  """A copy of the run with a score for each of its checkpoints 20, 30 and 40; 30 has the best."""
  run = shutil.copytree(trained, tmp_path_factory.mktemp("scored") / "run")
  with Checkpoints(run / "checkpoints", keep_last=3) as checkpoints:
    for step, score in ((20, 0.1), (30, 0.3), (40, 0.2)):
      checkpoints.add_score(step, score)
  return run


@pytest.mark.parametrize(
  "settings, steps",
  [
    (dict(), [40]),
    (dict(checkpoint="last"), [40]),
    (dict(checkpoint="best"), [30]),
    (dict(checkpoint=20), [20]),
    (dict(step=20), [20]),
    (dict(average_last=2), [30, 40]),
    (dict(checkpoint="last", average_last=2), [30, 40]),
    (dict(checkpoint="best", average_last=2), [20, 30]),
    (dict(checkpoint=30, average_last=2), [20, 30]),
    (dict(checkpoint=20, average_last=2), [20]),
  ],
)
def test_a_checkpoint_and_the_average_up_to_it(scored, settings, steps):
  assert transformer_jax.load(scored, **settings).steps == steps


def test_two_names_of_different_checkpoints(scored):
  assert transformer_jax.load(scored, checkpoint=20, step=20).steps == [20]
  for checkpoint in ("best", 30):
    with pytest.raises(ValueError, match=r"step=20, but checkpoint=.* names another"):
      transformer_jax.load(scored, checkpoint=checkpoint, step=20)


def test_the_average_that_the_run_itself_asks_for_is_of_its_last_checkpoints(scored, tmp_path):
  run = shutil.copytree(scored, tmp_path / "run")
  config = json.loads((run / "config.json").read_text())
  config["settings"]["average_last"] = 2
  (run / "config.json").write_text(json.dumps(config))
  assert transformer_jax.load(run).steps == [30, 40]
  assert transformer_jax.load(run, checkpoint="best").steps == [30]
  assert transformer_jax.load(run, checkpoint=40).steps == [40]


def test_a_checkpoint_that_is_not_there(scored, run_copy):
  with pytest.raises(CheckpointError, match="no checkpoint of step 10; there are 20, 30, 40"):
    transformer_jax.load(scored, checkpoint=10)
  for name in ("newest", 20.0, "-1", True):
    with pytest.raises(CheckpointError, match="is not a checkpoint; give best, last or a step"):
      transformer_jax.load(scored, checkpoint=name)
  for step in (20, 40):
    checksums.drop_from_list(run_copy / f"checkpoints/{step}", "score.json")
  with pytest.raises(CheckpointError, match=r"has a score .* \(steps .*: 20, 30, 40\)"):
    transformer_jax.load(run_copy, checkpoint="best")


@pytest.mark.parametrize("flag", ["--checkpoint=best", "--checkpoint=30", "--step=30"])
def test_a_command_takes_the_checkpoint(scored, tmp_path, flag, capsys):
  (tmp_path / "pair").write_text("one\n")
  files = [f"--source={tmp_path}/pair", f"--reference={tmp_path}/pair"]
  assert command_line(["evaluate", f"--workdir={scored}", *files, flag]) == 0
  assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == [30]


def test_a_command_names_the_existing_checkpoints(scored, capsys):
  assert command_line(["translate", f"--workdir={scored}", "--checkpoint=7"]) == 4
  (line,) = capsys.readouterr().err.splitlines()
  assert line.endswith("there is no checkpoint of step 7; there are 20, 30, 40")
