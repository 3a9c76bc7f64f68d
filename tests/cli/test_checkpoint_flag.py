"""Values of --checkpoint that no run can have are refused before anything is loaded."""

import pytest

from transformer_jax.cli.main import run

COMMANDS = ["evaluate", "translate", "parse", "score", "heads", "attention"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("value", ["newest", "", "-1", "1.5", "1e5", "\N{SUPERSCRIPT TWO}"])
def test_nonsense_is_refused(command, value, tmp_path, capsys):
  needed = [f"--{name}={tmp_path}/none" for name in ("source", "target") if command == "score"]
  assert run([command, f"--workdir={tmp_path}", f"--checkpoint={value}", *needed]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    f"transformer-jax: --checkpoint={value}: is not a checkpoint; "
    "give best, last or a step, such as 100000"
  )


def test_two_answers_are_refused(tmp_path, capsys):
  flags = [f"--workdir={tmp_path}", "--checkpoint=best", "--step=30"]
  assert run(["translate", *flags]) == 2
  assert "--step=30: --checkpoint=best names another; leave one out" in capsys.readouterr().err
