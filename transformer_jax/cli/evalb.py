"""`transformer-jax evalb`."""

from transformer_jax.cli.flags import Command
from transformer_jax.strict_json import json_text


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path("gold", "file of the correct trees, one a line")
  command.declare_path("predicted", "file of the trees to score, one a line")
  command.declare_path(
    "parameters",
    "rules: collins (COLLINS.prm), new (new.prm), or a parameter file of EVALB",
    "collins",
  )
  command.declare("per_sentence", False, "also print EVALB's line for each sentence")


def run(command: Command) -> None:
  """Prints EVALB's summary, a table of labels, and one JSON object."""
  gold = command.required("gold")
  predicted = command.required("predicted")
  from transformer_jax.runs.evalb import evalb, page

  result = evalb(gold, predicted, command["parameters"])
  print("\n".join(page(result, command["per_sentence"])))
  print(json_text({name: value for name, value in result.items() if name != "per_sentence"}))
