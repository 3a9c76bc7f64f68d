"""`transformer-jax evaluate`."""

from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.strict_json import json_text

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare("split", "test", "split of the run's data to score", ["valid", "test"])
  command.declare_path("source", "text file to translate, instead of a split")
  command.declare_path("reference", "its reference translations")
  command.declare(
    "tokenized_input",
    False,
    "source and reference have been through the run's preprocessing already",
  )
  command.declare_checkpoint()


def run(command: Command) -> None:
  """Prints the scores; the last line is one JSON object."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  from transformer_jax.runs.evaluate import evaluate

  result = evaluate(
    workdir,
    split=command["split"],
    overrides=command.settings(),
    source=command["source"],
    reference=command["reference"],
    data_root=command["data_root"],
    checkpoint=checkpoint,
    tokenized_input=command["tokenized_input"],
  )
  print(f"{result['set']}: {result['headline']}, perplexity {result['perplexity']:.3f}")
  print(json_text(result))
