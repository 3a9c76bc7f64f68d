"""Flags and flag files: an error is one line that names the flag, the file and the line."""

import re

import pytest

from transformer_jax.cache_folder import cache_folder
from transformer_jax.cli import evaluate, train
from transformer_jax.cli.flags import Command
from transformer_jax.cli.main import COMMANDS, module_of
from transformer_jax.config import Config, fields
from transformer_jax.errors import ConfigError, WorkdirError


def parsed(*arguments, module=train):
  command = Command("train", "", **module.SETTINGS)
  module.declare(command)
  command.parse(arguments)
  return command


def write(tmp_path, name, text):
  path = tmp_path / name
  path.write_text(text, encoding="utf-8")
  return path


def test_every_field_is_a_flag_with_its_default():
  command = parsed()
  assert command.settings() == Config().to_flat()
  text = command.help()
  for name, field in fields().items():
    assert f"--{name}" in text
    assert len(field.metadata["help"]) > 3


def test_values_in_all_spellings():
  command = parsed(
    "--num_heads=4",
    "--d_k",
    "32",
    "-d_v=16",
    "--deterministic",
    "--noallow_device_change",
    "--norm=pre",
  )
  model = command.config().model
  assert (model.num_heads, model.d_k, model.d_v, model.norm) == (4, 32, 16, "pre")
  assert command["deterministic"]
  assert not command["allow_device_change"]
  assert parsed("--deterministic=false").config().train.deterministic is False


def test_overrides_keep_what_is_not_given():
  assert parsed("--beam_size=2", module=evaluate).settings() == dict(beam_size=2)


def test_the_last_value_counts_and_files_nest_beside_each_other(tmp_path):
  (tmp_path / "inner").mkdir()
  write(tmp_path, "inner/base.flags", "--d_ff=100\n--d_model=64\n")
  write(
    tmp_path, "inner/top.flags", "# comment\n\n// another\n  --flagfile=base.flags\n--d_ff=200\n"
  )
  model = parsed(f"--flagfile={tmp_path}/inner/top.flags", "--d_model=32").config().model
  assert (model.d_ff, model.d_model) == (200, 32)
  assert parsed("--flagfile", f"{tmp_path}/inner/base.flags").config().model.d_ff == 100


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--dk=3"], "--dk: train has no such flag; did you mean --d_k?"),
    (["--d_k=three"], "--d_k=three: is not a whole number"),
    (["--d_k"], "--d_k: has no value"),
    (["--d_k=0"], "--d_k: 0 is too small; at least 1"),
    (["--dropout_rate=nan"], "--dropout_rate: nan is not a finite number"),
    (["--norm=middle"], "--norm=middle: "),
    (
      ["--deterministic=maybe"],
      "--deterministic=maybe: is neither true nor false; write true or false",
    ),
    (["--allow_device_change=2"], "--allow_device_change=2: is neither true nor false; write true"),
    (["--dropout_rate=much"], "--dropout_rate=much: is not a number"),
    (["extra"], "'extra': is not a flag"),
    (["--"], "--: is not a flag; flags are --name=value"),
    (["--d_model=7"], "--d_model: 7 is odd"),
    (["--flagfile=missing"], "--flagfile: missing cannot be read: No such file"),
    (["--flagfile"], "--flagfile: . is not a file"),
    (["--flagfile=/dev/null"], "--flagfile: /dev/null is not a file"),
    (["--flagfile=a\0b"], "--flagfile: a\\x00b cannot be read: "),
    (["--nodeterministic=true"], "--nodeterministic: takes no value"),
    (["--source_language=a\0b"], "--source_language: has a NUL"),
    (["--source_language=\udcff"], "--source_language: has a NUL or bytes that are not UTF-8"),
    (["--d_ff=100000000000"], "--d_ff: 100000000000 is too large"),
    (
      ["--average_last=9"],
      "--average_last: averages 9 checkpoints, but --keep_checkpoints=5 keeps fewer; at most 5",
    ),
  ],
)
def test_wrong_arguments(arguments, message):
  with pytest.raises(ConfigError, match=re.escape(message)):
    parsed(*arguments).config()


@pytest.mark.parametrize(
  "text, message",
  [
    ("--d_k=16\nnum_heads=4\n", "top.flags:2: 'num_heads=4' is not a flag; write --name=value"),
    ("\n# x\n--dk=16\n", "top.flags:3 --dk: train has no such flag"),
    ("--d_k=x\n", "top.flags:1 --d_k=x: "),
    ("--d_k=0\n", "top.flags:1 --d_k: 0 is too small"),
    ("--d_k 16\n", "top.flags:1 --d_k 16: train has no such flag"),
    ("--d_k\n", "top.flags:1 --d_k: has no value"),
    ("--flagfile=top.flags\n", "top.flags:1: "),
    ("--flagfile=nowhere.flags\n", "top.flags:1: nowhere.flags cannot be read"),
    (
      "--target_language=de   # German\n",
      "top.flags:1: '--target_language=de   # German' has a "
      "comment after the value; give the comment a line of its own",
    ),
    ("--d_k=16 # narrow\n", "top.flags:1: '--d_k=16 # narrow' has a comment after the value"),
    ("--d_k=16\t// narrow\n", "top.flags:1: '--d_k=16\t// narrow' has a comment after the value"),
    ("--deterministic # slow\n", "top.flags:1: '--deterministic # slow' has a comment after"),
    ("--flagfile=top.flags # 2\n", "top.flags:1: '--flagfile=top.flags # 2' has a comment after"),
    (
      '\n--workdir="runs/x"\n',
      'top.flags:2: the value "runs/x" is in quotes, and no shell removes them here; '
      "write the value without them",
    ),
    ("--train_source='a b.en'\n", "top.flags:1: the value 'a b.en' is in quotes"),
  ],
)
def test_wrong_lines(tmp_path, text, message):
  path = write(tmp_path, "top.flags", text)
  with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/{message}")):
    parsed(f"--flagfile={path}").config()


def test_a_cycle_of_two_files(tmp_path):
  write(tmp_path, "a.flags", "--flagfile=b.flags\n")
  write(tmp_path, "b.flags", "--d_k=3\n--flagfile=a.flags\n")
  with pytest.raises(ConfigError, match=r"b\.flags:2: .*a\.flags includes itself"):
    parsed(f"--flagfile={tmp_path}/a.flags")


def test_a_file_that_is_not_text(tmp_path):
  path = tmp_path / "x.flags"
  path.write_bytes(b"\xff\xfe--d_k=3\n")
  with pytest.raises(ConfigError, match="is not UTF-8"):
    parsed(f"--flagfile={path}")


def test_a_value_may_contain_marks_of_comments_and_quotes(tmp_path):
  values = dict(workdir="runs/c#1", data_root="gs://bucket/x", source_language="'en")
  text = "".join(f"--{name}={value}\n" for name, value in values.items())
  command = parsed(f"--flagfile={write(tmp_path, 'top.flags', text)}")
  assert {name: command[name] for name in values} == values


# Flags and settings that take any text and do not name a file.
NO_PATHS = {
  "alignment_heads",
  "host",
  "source_language",
  "target_language",
  "tfds_name",
  "tfds_splits",
  "dataset_config",
  "dataset_splits",
  "source_column",
  "target_column",
  "test_set",
  "pair",
  "preprocessed_splits",
  "train_sections",
  "valid_sections",
  "test_sections",
  "coordinator",
  "profile_steps",
  "checkpoint",
  "init_checkpoint",
  "language",
  "rows",
  "kernels",
  "num_heads",
  "d_k",
  "lengths",
  "table_1_lengths",
  "tokenize",
  "name",
}
SENTENCES = {("attention", "source"), ("attention", "target")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_text_is_a_path_with_its_home_or_known_to_be_none(name, monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  module = module_of(name)
  command = Command(name, "", **getattr(module, "SETTINGS", {}))
  module.declare(command)
  for flag, kind in command._kinds.items():
    if kind is not str or hasattr(command._values[flag].parser, "enum_values"):
      continue
    command.parse([f"--{flag}=~/x"])
    is_path = flag not in NO_PATHS and (name, flag) not in SENTENCES
    assert command[flag] == ("/home/me/x" if is_path else "~/x"), flag


def test_homes_stand_at_beginnings(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  command = parsed("--train_source=~/a.en, ~/b.en,c~/d,~nobody-of-this-name/e", "--workdir=~")
  assert command["train_source"] == "/home/me/a.en, /home/me/b.en,c~/d,~nobody-of-this-name/e"
  assert command["workdir"] == "/home/me"


def test_flag_files_and_folders_of_the_environment_have_homes(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("TRANSFORMER_JAX_DATA", "~/data")
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", "~/cache")
  (tmp_path / "inner").mkdir()
  write(tmp_path, "base.flags", "--d_k=3\n")
  write(tmp_path, "inner/top.flags", "--flagfile=~/base.flags\n--workdir=~/run\n")
  command = parsed("--flagfile=~/inner/top.flags")
  assert command["d_k"] == 3
  assert command["workdir"] == f"{tmp_path}/run"
  assert command["data_root"] == f"{tmp_path}/data"
  assert cache_folder() == tmp_path / "cache"


@pytest.mark.parametrize(
  "flags, message",
  [
    (
      ["--log_every=10000", "--batch_tokens=402000"],
      "--log_every=10000: updates of up to 402,000 tokens (--batch_tokens x --accumulation_steps) "
      "are more tokens than the 2,147,483,647 that a line of metrics can count; at most 5341",
    ),
    (
      ["--log_every=1000", "--batch_tokens=25000", "--accumulation_steps=100"],
      "--log_every=1000: updates of up to 2,500,000 tokens",
    ),
    (
      ["--log_every=1", "--batch_tokens=100000000", "--accumulation_steps=100"],
      "--accumulation_steps=100: batches of --batch_tokens=100000000 make",
    ),
  ],
)
def test_more_tokens_than_the_sums_can_count(flags, message):
  with pytest.raises(ConfigError, match=re.escape(message)):
    parsed(*flags).config()
  Config.from_flat(parsed(*flags).settings())  # a run that was trained so stays readable


def test_a_missing_run_is_reported_by_its_missing_config(tmp_path):
  with pytest.raises(WorkdirError, match="there is no run here"):
    parsed(f"--workdir={tmp_path}", module=evaluate).workdir_of_a_run()
