"""`transformer-jax score`."""

from transformer_jax.strict_json import json_text

SETTINGS = dict(groups=("decode",), overrides=True)


def declare(command):
  """The flags besides the decoding settings."""
  command.declare_workdir()
  command.declare_path("source", "text file, one sentence a line")
  command.declare_path("target", "its translations")
  command.declare_path("output", "file for the log-probabilities; default: standard output")
  command.declare(
    "tokenized_input", False, "the text has been through the run's preprocessing already"
  )
  command.declare_checkpoint()


def run(command):
  """Writes a log-probability a line; the last line of standard output is one JSON object."""
  _, source, target = command.required("workdir", "source", "target")
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  from transformer_jax.runs.score import score

  print(
    json_text(
      score(
        workdir,
        source,
        target,
        overrides=command.settings(),
        output_path=command["output"],
        tokenized_input=command["tokenized_input"],
        checkpoint=checkpoint,
      )
    )
  )
