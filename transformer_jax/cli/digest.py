"""`transformer-jax digest`."""

from transformer_jax.cli.flags import Command


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_workdir()
  command.declare("step", None, "the checkpoint; default: the latest", kind=int)


def run(command: Command) -> None:
  """Prints the SHA-256."""
  workdir = command.required("workdir")
  from transformer_jax.runs.digest import digest_of

  print(digest_of(workdir, command["step"]))
