"""`transformer-jax doctor`."""

from transformer_jax.cli.flags import Command
from transformer_jax.strict_json import json_text


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_workdir()
  command.declare_data_root()


def run(command: Command) -> int:
  """Prints the findings and one JSON object; returns the exit code of the first problem, or 0."""
  workdir = command.workdir_of_a_run()
  from transformer_jax.runs.doctor import examine

  lines, result, error = examine(workdir, command["data_root"])
  print("\n".join(lines))
  print(json_text(result))
  return error.exit_code if error else 0
