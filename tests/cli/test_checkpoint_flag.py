"""--checkpoint: nonsense is refused before anything is loaded, and each command passes it on."""

import pytest

from transformer_jax.cli.main import run
from transformer_jax.errors import WorkdirError
from transformer_jax.runs.trained_model import TrainedModel

COMMANDS = ["evaluate", "translate", "parse", "score", "heads", "attention"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
  "value", ["newest", "", "-1", "1.5", "1e5", "\N{SUPERSCRIPT TWO}", "9" * 5000]
)
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


@pytest.mark.parametrize("command", COMMANDS)
def test_the_model_is_loaded_from_the_checkpoint(command, trained, tmp_path, monkeypatch, capsys):
  def refuse(workdir, checkpoint, **_):
    raise WorkdirError(workdir, f"asked for {checkpoint}")

  monkeypatch.setattr(TrainedModel, "load", refuse)
  text = tmp_path / "text"
  text.write_text("one\n")
  needed = dict(attention=["--source=one"], score=[f"--source={text}", f"--target={text}"])
  flags = [f"--workdir={trained}", "--checkpoint=best", *needed.get(command, [])]
  if command in ("attention", "heads"):
    flags.append(f"--output={tmp_path}")
  assert run([command, *flags]) == 6
  assert capsys.readouterr().err == f"transformer-jax: {trained}: asked for best\n"
