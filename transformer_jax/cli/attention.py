"""`transformer-jax attention`."""

import os
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)
# The flags that --from goes with.
_OF_ANOTHER_MODEL = ("from", "output", "layer", "head", "word", "figures")


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare("source", "", "sentence to look at")
  command.declare("target", "", "output to show attention for, instead of the model's own")
  command.declare_path("input", "file of sentences, one a line, instead of --source")
  command.declare_path(
    "from",
    "JSON file of another model's attention, in the format of attention.json (docs/other-models.md "
    "has it), instead of --workdir",
  )
  command.declare_path(
    "output",
    "folder for the page, JSON and figures; default: attention/ in the workdir, or beside the file "
    "of --from",
  )
  command.declare(
    "layer",
    None,
    "layer that the page shows first and the figures, from 1; default: the last",
    kind=int,
  )
  command.declare(
    "head",
    None,
    "head to show first and to draw by itself, from 1; default: the cross-attention head with the "
    "sharpest weights",
    kind=int,
  )
  command.declare(
    "word", None, "output word to hold and to draw by itself, from 1; default: the first", kind=int
  )
  command.declare(
    "figures",
    None,
    "also draw figures, PNG and PDF; default: for sentences of at most 40 sub-words",
    kind=bool,
  )
  command.declare(
    "model_in_page",
    True,
    "with --source: the page carries the model, if it has at most 6 million parameters, so that "
    "other sentences can be typed into it",
  )
  command.declare(
    "tokenized_input", False, "the text has been through the run's preprocessing already"
  )
  command.declare_checkpoint()


def run(command: Command) -> None:
  """Writes the pages and prints their paths."""
  if command["from"]:
    _show_another_model(command)
    return
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  from transformer_jax.analysis.attention.figures import Selection
  from transformer_jax.analysis.attention.report import Sentences, report

  sentences = Sentences(
    command["source"],
    command["target"] or None,
    command["input"],
    are_preprocessed=command["tokenized_input"],
  )
  folders = report(
    workdir,
    command["output"] or f"{workdir}/attention",
    sentences,
    Selection(layer=command["layer"], head=command["head"], word=command["word"]),
    overrides=command.settings(),
    with_figures=command["figures"],
    with_model=command["model_in_page"],
    checkpoint=checkpoint,
  )
  for folder in folders:
    print(folder / "attention.html")


def _show_another_model(command: Command) -> None:
  """Writes the page of the file that --from names.

  Raises:
    ConfigError: a flag is given that needs a run.
  """
  for name in command.given():
    if name not in _OF_ANOTHER_MODEL:
      raise ConfigError(f"--{name}", "needs a run of this project", "leave it out beside --from")
  path = command["from"]
  folder = command["output"] or os.path.join(os.path.dirname(path), "attention")
  from transformer_jax.analysis.attention.figures import Selection
  from transformer_jax.analysis.attention.report import report_given

  selection = Selection(layer=command["layer"], head=command["head"], word=command["word"])
  report_given(path, folder, selection, command["figures"])
  print(os.path.join(folder, "attention.html"))
