"""`transformer-jax digest`."""


def declare(command):
  """The flags."""
  command.declare_workdir()
  command.declare("step", None, "the checkpoint; default: the latest", kind=int)


def run(command):
  """Prints the SHA-256."""
  workdir = command.required("workdir")
  from transformer_jax.runs.digest import digest_of

  print(digest_of(workdir, command["step"]))
