"""`transformer-jax evaluate`."""

from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.data.sacrebleu_sets import EXCLUDED, NamedSet, refuse_contradictions
from transformer_jax.strict_json import json_text

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare("split", "test", "split of the run's data to score", ["valid", "test"])
  command.declare_path("source", "text file to translate, instead of a split")
  command.declare_path("reference", "its reference translations")
  command.declare(
    "tokenized_input",
    False,
    "source and reference have been through the run's preprocessing already",
  )
  command.declare(
    "test_set", "", "test set of sacreBLEU to score instead of a split, such as wmt14/full"
  )
  command.declare("pair", "", "its language pair, such as en-de; default: the run's languages")
  command.declare_checkpoint()


def run(command: Command) -> None:
  """Prints the scores; the last line is one JSON object."""
  checkpoint = command.checkpoint()
  name = command["test_set"]
  given = [flag for flag in EXCLUDED if command.is_given(flag) and command[flag]]
  refuse_contradictions(name, command["pair"], given)
  workdir = command.workdir_of_a_run()
  from transformer_jax.runs.evaluate import evaluate

  result = evaluate(
    workdir,
    split=NamedSet(name, command["pair"]) if name else command["split"],
    overrides=command.settings(),
    source=command["source"],
    reference=command["reference"],
    data_root=command["data_root"],
    checkpoint=checkpoint,
    tokenized_input=command["tokenized_input"],
  )
  if "pair" in result:
    size = f"{result['sentences']:,} sentences"
    print(f"{result['set']} {result['pair']}: {size}, {result['signature']}")
  print(f"{result['set']}: {result['headline']}, perplexity {result['perplexity']:.3f}")
  print(json_text(result))
