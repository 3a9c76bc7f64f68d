"""`transformer-jax parse`."""

from typing import Any

from transformer_jax.cli.flags import Command

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_path(
    "input", "text file, one sentence a line, .gz allowed; default: standard input"
  )
  command.declare_path(
    "output",
    "file for the trees, one a line; default: standard output; *.gz is compressed",
  )
  command.declare("with_scores", False, "write LOG-PROB, SCORE and TREE, with tabs between them")
  command.declare(
    "pretty", False, "write each tree indented over several lines, then an empty line"
  )
  command.declare(
    "tokenized_input",
    False,
    "the sentences are space-separated words; default: split them as in the Penn Treebank",
  )
  command.declare("strict", False, "refuse lines that are not UTF-8, instead of replacing bytes")
  command.declare_checkpoint()
  command.declare_ensemble()


def run(command: Command) -> None:
  """Writes one tree for each line read."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  ensemble = command.ensemble()
  from transformer_jax.runs.parse import parse

  parse(
    workdir,
    command["input"],
    command["output"],
    overrides=command.settings(),
    with_scores=command["with_scores"],
    pretty=command["pretty"],
    tokenized_input=command["tokenized_input"],
    checkpoint=checkpoint,
    ensemble=ensemble,
    is_strict=command["strict"],
  )
