"""`transformer-jax translate`."""

import os
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_path(
    "input", "text file, one sentence a line, .gz allowed; default: standard input"
  )
  command.declare_path(
    "output", "file for the translations; default: standard output; *.gz is compressed"
  )
  command.declare(
    "num_best",
    1,
    "translations of each sentence; if more than one, a line is "
    "NUMBER ||| TEXT ||| LOG-PROB ||| SCORE",
  )
  command.declare("with_scores", False, "write LOG-PROB, SCORE and TEXT, with tabs between them")
  command.declare(
    "tokenized_input", False, "the text has been through the run's preprocessing already"
  )
  command.declare("tokenized_output", False, "do not undo the run's preprocessing in the output")
  command.declare_path(
    "alignment",
    "file for word alignments, a line for each line of the output: 0-0 2-1 links words of the "
    "input line to words of the output, as spaces separate them, counted from 0",
  )
  command.declare(
    "alignment_heads",
    "",
    "cross-attention heads that align, such as 1.2,2.4 (LAYER.HEAD, from 1); default: those of the "
    "layer that follows the sentence most closely, as `heads` measured it, else of the last layer",
  )
  command.declare(
    "alignment_position",
    "predicts",
    "position of the decoder that speaks for an output word: the one that predicts or reads it",
    ["predicts", "reads"],
  )
  command.declare("strict", False, "refuse lines that are not UTF-8, instead of replacing bytes")
  command.declare_checkpoint()
  command.declare_ensemble()


def run(command: Command) -> None:
  """Writes one line for each line read."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  ensemble = command.ensemble()
  alignment, output = command["alignment"], command["output"] or "-"
  if alignment and os.path.realpath(alignment) == os.path.realpath(output):
    raise ConfigError(f"--alignment={alignment}", "is also the output", "name another file")
  if alignment and ensemble:
    raise ConfigError("--alignment", "is made of one run's attention", "leave out --ensemble")
  if command["alignment_heads"] and not alignment:
    raise ConfigError("--alignment_heads", "needs --alignment", "name a file for the alignments")
  from transformer_jax.runs.translate import translate

  translate(
    workdir,
    command["input"],
    command["output"],
    overrides=command.settings(),
    num_best=command["num_best"],
    with_scores=command["with_scores"],
    tokenized_input=command["tokenized_input"],
    tokenized_output=command["tokenized_output"],
    checkpoint=checkpoint,
    ensemble=ensemble,
    is_strict=command["strict"],
    alignment_path=alignment,
    alignment_heads=command["alignment_heads"],
    alignment_position=command["alignment_position"],
  )
