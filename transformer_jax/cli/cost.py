"""`transformer-jax cost`."""

import sys
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.config import fields, split_list, whole_number
from transformer_jax.errors import ConfigError

_LISTS = ("num_heads", "d_k", "lengths", "table_1_lengths")
_NUMBERS = (
  "d_model",
  "fixed_heads",
  "batch_tokens",
  "rounds",
  "table_1_width",
  "sentence_length",
)


def declare(command: Command) -> None:
  """Declares the flags; lists are comma-separated."""
  command.declare_path("output", "folder for cost.json, cost.md and the figures", "cost")
  command.declare("d_model", 512, "width of the sub-layer")
  command.declare(
    "num_heads",
    "1,2,4,8,16,32",
    "numbers of heads h; each is measured with heads of width d_model / h, and of width d_model",
  )
  command.declare("d_k", "16,32,64", "widths of queries and keys, with --fixed_heads heads")
  command.declare("fixed_heads", 8, "number of heads while d_k varies")
  command.declare("lengths", "32,128,512", "sentence lengths n")
  command.declare(
    "kernels",
    "reference,xla,blocked,cudnn,fused",
    "attention kernels; those that cannot run here are left out, with the reason",
  )
  command.declare("dtype", "float32", "dtype of activations", ["float32", "bfloat16"])
  command.declare(
    "batch_tokens", 2048, "positions computed at once: a batch has batch_tokens / n sentences"
  )
  command.declare("rounds", 7, "timed rounds")
  command.declare("table_1_width", 256, "width d of the layers of Table 1")
  command.declare(
    "table_1_lengths",
    "32,64,128,256,512,1024",
    "lengths n at which the layers of Table 1 are timed",
  )
  command.declare_path("workdir", "folder of a run whose training cost is counted too")
  command.declare(
    "sentence_length", 28, "mean tokens of a sentence, for attention's share of that cost"
  )


def run(command: Command) -> None:
  """Runs the study and prints its page."""
  settings: dict[str, Any] = dict(dtype=command["dtype"])
  for name in _LISTS:
    settings[name] = _positive_integers(command, name)
  for name in _NUMBERS:
    settings[name] = command.at_least(name, 1)
  kernels = split_list(command["kernels"])
  if not kernels:
    raise ConfigError("--kernels", "is empty", "name one, or leave it out")
  known = [name for name in fields()["attention_kernel"].metadata["choices"] if name != "auto"]
  for name in kernels:
    if name not in known:
      raise ConfigError("--kernels", f"'{name}' is not known", f"choose from {', '.join(known)}")
  from transformer_jax import parallel
  from transformer_jax.analysis.cost.settings import StudySettings
  from transformer_jax.analysis.cost.study import study

  parallel.start_up()
  page = study(
    command.required("output"),
    StudySettings(kernels=kernels, **settings),
    workdir=command["workdir"] or None,
    log=lambda message: print(message, file=sys.stderr, flush=True),
  )
  print("\n".join(page))


def _positive_integers(command: Command, name: str) -> list[int]:
  """Returns the positive integers of a comma-separated flag, ascending, each once."""
  numbers = {whole_number(item) for item in split_list(command[name])}
  if not numbers or not all(numbers):
    raise ConfigError(
      f"--{name}={command[name]}", "is not a list of positive whole numbers", "such as 1,2,4,8"
    )
  return sorted(number for number in numbers if number)
