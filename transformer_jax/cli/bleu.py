"""`transformer-jax bleu`."""

from transformer_jax.strict_json import json_text


def declare(command):
  """The flags."""
  command.declare_path("hypothesis", "text file of translations, one a line")
  command.declare_path("reference", "text file of references")
  command.declare("language", "de", "language of the text, for the paper's tokenisation")
  command.declare("tokenize", "13a", "sacreBLEU's tokenisation", ["13a", "intl", "none", "char"])
  command.declare("lowercase", False, "lower-case both sides before sacreBLEU and tokenized BLEU")


def run(command):
  """Prints one JSON object."""
  hypothesis, reference = command.required("hypothesis", "reference")
  from transformer_jax.runs.bleu import bleu  # pylint: disable=import-outside-toplevel
  print(json_text(bleu(hypothesis, reference, command["language"], command["tokenize"], command["lowercase"])))
