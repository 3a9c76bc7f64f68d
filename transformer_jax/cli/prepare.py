"""`transformer-jax prepare`."""

from typing import Any

from transformer_jax.cli.flags import Command

SETTINGS: dict[str, Any] = dict(groups=("model", "data", "train", "decode"))


def declare(command: Command) -> None:
  """Declares the flags other than the configuration's.

  The configuration's flags are those of `train`, so its flag files can be given.
  """
  command.declare_data_root()
  command.declare_check_data()


def run(command: Command) -> None:
  """Prepares the data for `train` with the same flags, and prints the counts."""
  config = command.config()
  from transformer_jax.runs.prepare import prepare
  from transformer_jax.runs.startup_report import data_lines

  prepared = prepare(config, command["data_root"], by_content=command["check_data"])
  for line in data_lines(config, prepared, prepared.stream_from()):
    print(line)
