"""`transformer-jax score`."""

from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.strict_json import json_text

# Nothing is searched for.
_USED = ("decode_batch_tokens", "max_source_length", "average_last")
SETTINGS: dict[str, Any] = dict(groups=("decode",), only=_USED, overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_path("source", "text file, one sentence a line")
  command.declare_path("target", "its translations")
  command.declare_path("output", "file for the log-probabilities; default: standard output")
  command.declare(
    "tokenized_input", False, "the text has been through the run's preprocessing already"
  )
  command.declare_checkpoint()
  command.declare_ensemble()


def run(command: Command) -> None:
  """Writes a log-probability a line; the last line of standard output is one JSON object."""
  command.required("workdir")
  source = command.required("source")
  target = command.required("target")
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  ensemble = command.ensemble()
  from transformer_jax.runs.score import score

  result = score(
    workdir,
    source,
    target,
    overrides=command.settings(),
    output_path=command["output"],
    tokenized_input=command["tokenized_input"],
    checkpoint=checkpoint,
    ensemble=ensemble,
  )
  print(json_text(result))
