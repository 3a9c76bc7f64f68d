"""`transformer-jax export`."""

from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.config import Config
from transformer_jax.interop.checks import PACKAGES, QUANTIZATIONS, Form, check, check_output
from transformer_jax.workdir.folder import Workdir

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings, which the folder passes on."""
  command.declare_workdir()
  command.declare(
    "format",
    None,
    "program to export for: ctranslate2 or huggingface, which translate; or safetensors, the "
    "parameters under this package's own names",
    list(PACKAGES),
    kind=str,
  )
  command.declare_path("output", "folder to write; it must not exist")
  command.declare(
    "quantization",
    QUANTIZATIONS[0],
    "how matrices are stored, for ctranslate2, and int8 or float16 for safetensors; none: float32",
    QUANTIZATIONS,
  )
  command.declare(
    "untied",
    False,
    "for huggingface: write embeddings and output matrix separately. Scores are then exact too, "
    "but the file is larger, and fine-tuning makes the matrices differ",
  )
  command.declare_checkpoint()


def run(command: Command) -> None:
  """Writes the folder and prints its path."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  form = Form(command.required("format"), command["quantization"], command["untied"])
  output = command.required("output")
  check(Config.from_flat(Workdir(workdir, primary=False).read_config()), form)
  check_output(output)
  from transformer_jax.interop.export import export

  export(workdir, output, form, overrides=command.settings(), checkpoint=checkpoint)
  print(output)
