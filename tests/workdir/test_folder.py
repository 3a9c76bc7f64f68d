"""The files of a run are whole or absent, and a damaged one is refused by name."""

import json
import os
import subprocess
import sys

import pytest
from tiny_run import tiny_config

from transformer_jax import files
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.data.tokenizers import folder as tokenizer_folder
from transformer_jax.data.tokenizers.word_list import WordListTokenizer
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.workdir import folder as workdir_module
from transformer_jax.workdir.folder import Start, Workdir
from transformer_jax.workdir.tensorboard import TensorBoard


@pytest.fixture
def folder(tmp_path):
  return Workdir(tmp_path / "run")


def test_settings_come_back(folder):
  settings = tiny_config().to_flat()
  folder.write_config(settings)
  assert folder.read_config() == settings


@pytest.mark.parametrize(
  "content, error, problem",
  [
    ("{", ConfigError, "is not JSON"),
    ("[]", ConfigError, "is not a JSON object"),
    ("{}", ConfigError, "has no settings"),
    ('{"settings": {}}', ConfigError, "does not set num_layers"),
    ("[" * 100_000, ConfigError, "is not JSON"),
    (None, WorkdirError, "there is no run here"),
  ],
)
def test_a_damaged_config_is_named(folder, content, error, problem):
  if content is not None:
    (folder.path / "config.json").write_text(content)
  with pytest.raises(error, match=problem):
    folder.read_config()


def test_a_run_from_before_a_setting_has_its_default(folder):
  settings = tiny_config().to_flat()
  folder.write_config({name: value for name, value in settings.items() if name != "constrained"})
  assert folder.read_config() == settings


def test_a_setting_of_another_version_is_named(folder):
  folder.write_config({**tiny_config().to_flat(), "from_the_future": 1})
  with pytest.raises(ConfigError, match="has an unknown setting: from_the_future"):
    folder.read_config()


def test_a_wrong_value_names_the_file(folder):
  folder.write_config({**tiny_config().to_flat(), "d_model": "x"})
  with pytest.raises(ConfigError, match=r"config.json: --d_model: 'x' is not of type int"):
    folder.read_config()


def test_other_versions_are_reported(folder, monkeypatch):
  folder.write_config({})
  monkeypatch.setattr(workdir_module, "versions", lambda: {"jax": "9.9"})
  folder.write_config({})
  assert "warning: jax was" in (folder.path / "log.txt").read_text()


def test_starts_that_differ_are_listed(folder, monkeypatch):
  assert folder.read_starts() == []
  settings = tiny_config().to_flat()
  folder.write_config(settings)  # as older versions wrote it
  assert [(start["step"], start["hardware"]) for start in folder.read_starts()] == [(0, None)]
  for step, cores in ((10, 1), (20, 1), (30, 2)):
    folder.write_config(settings, start=Start(step, dict(cores=cores)))
  monkeypatch.setattr(workdir_module, "git_revision", lambda: "abc")
  folder.write_config(settings, start=Start(40, dict(cores=2)))
  starts = folder.read_starts()
  assert [start["step"] for start in starts] == [0, 10, 30, 40]
  assert [start["hardware"] for start in starts] == [None, *[dict(cores=n) for n in (1, 2, 2)]]
  assert starts[-1]["git_revision"] == "abc" != starts[-2]["git_revision"]
  assert starts[-1]["versions"]["jax"]
  folder.write_config(settings, start=Start(20, {}))  # a damaged checkpoint was passed over
  assert [start["step"] for start in folder.read_starts()] == [0, 10, 20]


@pytest.mark.parametrize("starts", [3, [3], [{}], [dict(step="x", hardware={})]])
def test_damaged_starts_are_named(folder, starts):
  (folder.path / "config.json").write_text(json.dumps(dict(starts=starts)))
  with pytest.raises(ConfigError, match="has damaged starts"):
    folder.read_starts()


def test_floats_of_metrics_read_back_exactly(folder):
  values = [0.1 + 0.2, 1e-300, 1 / 3]
  folder.write_metrics(dict(step=1, split="train", values=values))
  assert json.loads((folder.path / "metrics.jsonl").read_text())["values"] == values


def test_metrics_are_json_and_what_older_versions_wrote_is_read(folder):
  folder.write_metrics(dict(step=1, split="valid", loss=800.0, perplexity=float("inf")))
  assert (folder.path / "metrics.jsonl").read_text() == (
    '{"step": 1, "split": "valid", "loss": 800.0, "perplexity": null}\n'
  )
  with open(folder.path / "metrics.jsonl", "a", encoding="utf-8") as file:
    file.write('{"step": 2, "split": "valid", "loss": NaN, "perplexity": Infinity}\n')
  folder.cut_metrics(2)
  assert [line["perplexity"] for line in folder.read_metrics()] == [None, float("inf")]


def test_the_last_report_on_training(folder):
  assert folder.reported_step() is None
  folder.write_metrics(dict(step=5, split="valid"))
  assert folder.reported_step() == 0
  for step, split in ((10, "train"), (15, "train"), (15, "valid"), (20, "valid")):
    folder.write_metrics(dict(step=step, split=split))
  assert folder.reported_step() == 15


def test_metrics_are_cut_back(folder):
  for step in (1, 2, 3):
    folder.write_metrics(dict(step=step))
  with open(folder.path / "metrics.jsonl", "a", encoding="utf-8") as file:
    file.write('{"step": 2, "half')
  folder.cut_metrics(2)
  assert (folder.path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
  (folder.path / "metrics.jsonl").write_text('{"step": 1}\nwhat\n')
  with pytest.raises(WorkdirError, match=r"metrics\.jsonl:2: is not a line of metrics"):
    folder.cut_metrics(2)


def test_temporary_files_of_the_dead_are_removed_and_no_others(folder):
  """A run with `--workdir=.` in a home folder deletes none of the user's files."""
  dead = subprocess.Popen([sys.executable, "-c", ""])
  dead.wait()
  ours = [
    f".{dead.pid}-0123abcd.tmp",
    f"tokenizer/.{dead.pid}-00000000.tmp",
    f"evaluations/.{dead.pid}-ffffffff.tmp",
    f".{10**30}-0123abcd.tmp",
  ]
  theirs = [
    ".notes.tmp",
    ".x.tmp",
    ".12-0123abc.tmp",
    f".{dead.pid}-0123ABCD.tmp",
    "12-0123abcd.tmp",
    f".{os.getppid()}-0123abcd.tmp",
    ".metrics.jsonl.1.tmp",
    "tokenizer/.notes.0123abcd.tmp",
  ]
  for name in ours + theirs:
    (folder.path / name).write_text("x")
  a_folder = folder.path / f".{dead.pid}-11111111.tmp"
  a_folder.mkdir()
  folder.cut_metrics(0)
  assert not [name for name in ours if (folder.path / name).exists()]
  assert all((folder.path / name).exists() for name in theirs) and a_folder.is_dir()


def test_a_kill_while_a_tokenizer_is_saved_leaves_litter_that_is_removed(folder, monkeypatch):
  names = []
  replace = os.replace

  def recording(source, target):
    names.append(os.path.basename(source))
    replace(source, target)

  monkeypatch.setattr(os, "replace", recording)
  tokenizer_folder.save_tokenizer(WordListTokenizer(["a"]), folder.tokenizer)
  assert names and all(files._LITTER.fullmatch(name) for name in names)
  # The number is this process's own, which has no such file when a run begins.
  litter = folder.tokenizer / names[0]
  litter.write_text("x")
  folder.cut_metrics(0)
  assert not litter.exists()


def test_a_working_folder_that_was_deleted_is_named(tmp_path, monkeypatch):
  (tmp_path / "gone").mkdir()
  monkeypatch.chdir(tmp_path / "gone")
  (tmp_path / "gone").rmdir()
  with pytest.raises(
    WorkdirError, match=r"run: cannot be .*; this shell's working folder was deleted"
  ):
    Workdir("run")
  with pytest.raises(WorkdirError, match="working folder, which was deleted"):
    Checkpoints("run/checkpoints", read_only=True)
  with pytest.raises(WorkdirError, match="no run here"):
    Workdir("run", primary=False).read_config()


def test_a_run_without_its_settings_is_reported(folder):
  (folder.checkpoints / "10").mkdir()
  (folder.checkpoints / "10" / "meta.json").write_text("{}")
  missing = r"config\.json: is missing, but there are checkpoints here; restore"
  with pytest.raises(WorkdirError, match=missing):
    folder.read_config()


def test_other_processes_than_the_primary_write_nothing(tmp_path):
  folder = Workdir(tmp_path / "run", primary=False)
  folder.write_config({})
  folder.write_metrics(dict(step=1))
  folder.log("x")
  TensorBoard(folder.tensorboard, primary=False).write(dict(step=1, split="train", loss=1.0))
  assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_line(folder):
  (folder.path / "metrics.jsonl").symlink_to("/dev/full")
  full = r"metrics\.jsonl: cannot be written: No space left on device; free some space"
  with pytest.raises(WorkdirError, match=full):
    folder.write_metrics(dict(step=1))


def test_tensorboard_reads_what_was_written(folder):
  board = TensorBoard(folder.tensorboard)
  board.write(dict(step=7, split="train", loss=1.5, name="text", is_final=True))
  board.close()
  (path,) = folder.tensorboard.iterdir()
  raw = path.read_bytes()
  assert b"train/loss" in raw and b"train/name" not in raw and b"train/is_final" not in raw


def test_an_unwritable_folder_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(WorkdirError, match="file"):
    Workdir(tmp_path / "file" / "run")
