"""`transformer-jax bleu`."""

import sys

from transformer_jax.cli.flags import Command
from transformer_jax.strict_json import json_text


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path("hypothesis", "text file of translations, one a line")
  command.declare_path("reference", "text file of references, one a line")
  command.declare("language", "de", "language of the text, for its tokenization")
  command.declare(
    "tokenize",
    "",
    "sacreBLEU's tokenizer: 13a, intl, zh, ja-mecab, ko-mecab, char, flores200, none, or another "
    "that it has; default: the one for the language, 13a if it has spaces between words",
  )
  command.declare("lowercase", False, "lower-case both sides before sacreBLEU and tokenized BLEU")


def run(command: Command) -> None:
  """Prints one JSON object."""
  hypothesis = command.required("hypothesis")
  reference = command.required("reference")
  from transformer_jax.runs.bleu import bleu

  language = command["language"]
  scores = bleu(hypothesis, reference, language, command["tokenize"], command["lowercase"])
  if warning := scores["sacrebleu"].get("warning"):
    print(f"transformer-jax: --language={language}: {warning}", file=sys.stderr)
  print(json_text(scores))
