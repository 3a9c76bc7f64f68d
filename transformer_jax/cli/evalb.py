"""`transformer-jax evalb`."""

from transformer_jax.strict_json import json_text


def declare(command):
  """The flags."""
  command.declare_path("gold", "file of the right trees, one a line")
  command.declare_path("predicted", "file of trees to score")
  command.declare_path(
    "parameters",
    "rules: collins (COLLINS.prm), new (new.prm), or a parameter file of EVALB's",
    "collins",
  )
  command.declare("per_sentence", False, "print EVALB's line for each sentence too")


def run(command):
  """Prints EVALB's summary, labels, and one JSON object."""
  gold, predicted = command.required("gold", "predicted")
  from transformer_jax.runs.evalb import evalb, page

  result = evalb(gold, predicted, command["parameters"])
  print("\n".join(page(result, command["per_sentence"])))
  print(json_text({name: value for name, value in result.items() if name != "per_sentence"}))
