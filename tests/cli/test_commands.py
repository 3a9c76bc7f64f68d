"""The commands as a user runs them: exit codes, and errors of one line."""

import json
import os
import subprocess
import sys

import pytest
from patience import PATIENCE

from transformer_jax.cli.main import COMMANDS


def run(*arguments, **kwargs):
  return subprocess.run(
    [sys.executable, "-m", "transformer_jax", *arguments],
    capture_output=True,
    text=True,
    check=False,
    timeout=PATIENCE,
    **kwargs,
  )


@pytest.mark.parametrize(
  "arguments, code, message",
  [
    ([], 2, ""),
    (["fly"], 2, "transformer-jax: 'fly': there is no such command; choose one of train, "),
    (["train"], 2, "transformer-jax: --workdir: is missing"),
    (["train", "--workdir=x", "--dk=3"], 2, "transformer-jax: --dk: train has no such flag"),
    # It searches for nothing.
    (
      ["score", "--workdir=x", "--beam_size=3"],
      2,
      "transformer-jax: --beam_size: score has no such flag",
    ),
    (
      ["score", "--workdir=x", "--early_stopping=first"],
      2,
      "transformer-jax: --early_stopping: score has",
    ),
    (["digest"], 2, "transformer-jax: --workdir: is missing"),
    (
      ["bleu", "--hypothesis=/no/file", "--reference=/no/file"],
      3,
      "transformer-jax: /no/file: cannot be read: No such file or directory",
    ),
  ],
)
def test_errors_are_one_line(arguments, code, message, tmp_path):
  result = run(*arguments, cwd=tmp_path)
  assert result.returncode == code, result.stderr
  assert result.stderr.startswith(message)
  assert len(result.stderr.splitlines()) <= 1
  assert not list(tmp_path.iterdir())


def test_flags_are_checked_before_jax_is_loaded(tmp_path):
  code = (
    "import sys; from transformer_jax.cli.main import run; assert run(sys.argv[1:]) == 2; "
    "print(sorted({'jax', 'flax', 'tensorflow_datasets', 'sacrebleu'} & set(sys.modules)))"
  )
  result = subprocess.run(
    [sys.executable, "-c", code, "train", f"--workdir={tmp_path}", "--num_heads=0"],
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout == "[]\n"
  assert "--num_heads: 0 is too small" in result.stderr


def test_help_lists_commands_and_flags():
  overview = run("--help")
  assert overview.returncode == 0
  for name in COMMANDS:
    assert f"  {name} " in overview.stdout
    result = run(name, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"transformer-jax {name}: ")


def test_bleu_prints_json(tmp_path):
  (tmp_path / "h").write_text("the cat sat on the rich-text mat\n")
  (tmp_path / "r").write_text("the cat sat on the rich-text mat today\n")
  result = run("bleu", f"--hypothesis={tmp_path}/h", f"--reference={tmp_path}/r", "--language=en")
  scores = json.loads(result.stdout)
  assert scores["sacrebleu"]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
  assert 80 < scores["sacrebleu"]["score"] < 90
  assert scores["paper_bleu"]["hypothesis_length"] == 9
  (tmp_path / "r").write_text("one\ntwo\n")
  result = run("bleu", f"--hypothesis={tmp_path}/h", f"--reference={tmp_path}/r")
  assert result.returncode == 3
  assert "has 1 lines, and" in result.stderr


@pytest.mark.parametrize("command", ["translate", "evaluate", "digest"])
def test_no_run_there(command, tmp_path):
  result = run(command, f"--workdir={tmp_path}/none")
  assert result.returncode in (4, 6), result.stderr
  assert len(result.stderr.splitlines()) == 1
  assert not (tmp_path / "none").exists()


def test_paths_are_relative_to_data_root(tmp_path):
  for name in ("a.en", "a.de"):
    (tmp_path / name).write_text("one two\nthree\n")
  files = [
    "--train_source=a.en",
    "--train_target=a.de",
    "--valid_source=a.en",
    "--valid_target=a.de",
  ]
  flags = ["prepare", "--data_source=text", "--tokenizer=segmented", "--max_length=20", *files]
  result = run(*flags, f"--data_root={tmp_path}")
  assert result.returncode == 0, result.stderr
  assert "train 2 pairs" in result.stdout
  assert run(*flags, env={**os.environ, "TRANSFORMER_JAX_DATA": str(tmp_path)}).returncode == 0
  result = run(*flags, cwd=tmp_path / "..")
  assert result.returncode == 3
  assert "--train_source: there is no file" in result.stderr
  assert "--data_root" in result.stderr


def test_a_closed_pipe_is_no_error():
  process = subprocess.run(
    f"{sys.executable} -m transformer_jax train --help | head -1",
    shell=True,
    capture_output=True,
    text=True,
    check=False,
    env=os.environ,
  )
  assert process.returncode == 0
  assert not process.stderr
