"""`transformer-jax import`. A module cannot have the name of a keyword."""

from transformer_jax.cli.flags import Command
from transformer_jax.files import check_new
from transformer_jax.strict_json import json_text


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path(
    "from",
    "folder of a Marian model (OPUS-MT) with model.safetensors, or its name on huggingface.co, "
    "such as Helsinki-NLP/opus-mt-en-de; or folder that export wrote, in the format safetensors "
    "or huggingface",
  )
  command.declare_path("workdir", "folder of the new run; must not exist")


def run(command: Command) -> None:
  """Writes the run; the last line of standard output is one JSON object."""
  source = command.required("from")
  workdir = command.required("workdir")
  check_new(workdir)
  from transformer_jax.interop.import_run import import_run

  print(json_text(import_run(source, workdir)))
