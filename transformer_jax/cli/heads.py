"""`transformer-jax heads`."""

import sys
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare_path(
    "output", "folder for heads.json, heads.md and the figures; default: heads/ in the workdir"
  )
  command.declare("split", "valid", "split of the run's data to measure on", ["valid", "test"])
  command.declare_path("source", "text file to measure on, one sentence a line, instead of a split")
  command.declare_path("reference", "its translations")
  command.declare("sentences", 1000, "sentences for importance, roles and perplexity")
  command.declare(
    "bleu_sentences", 200, "sentences of these that are translated, again for each head"
  )
  command.declare(
    "random_orders", 3, "random orders of pruning, to compare with the order of importance"
  )
  command.declare(
    "plain_order",
    False,
    "also prune in the order of the importance that is not normalized within its layer",
  )
  command.declare(
    "greedy_order",
    False,
    "also prune by an importance that is measured again after each head that is closed: a backward "
    "pass over the sentences for each",
  )
  command.declare_checkpoint()


def run(command: Command) -> None:
  """Runs the study and prints its page."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  for name in ("sentences", "bleu_sentences"):
    command.at_least(name, 1)
  command.at_least("random_orders", 0)
  source, reference = command["source"], command["reference"]
  if bool(source) != bool(reference):
    missing = "--reference" if source else "--source"
    raise ConfigError(missing, "is missing", "give both files, or neither")
  from transformer_jax.analysis.heads.report import StudySettings, report

  settings = StudySettings(
    split=command["split"],
    source=source,
    reference=reference,
    sentences=command["sentences"],
    bleu_sentences=command["bleu_sentences"],
    random_orders=command["random_orders"],
    plain_order=command["plain_order"],
    greedy_order=command["greedy_order"],
  )
  page = report(
    workdir,
    command["output"] or f"{workdir}/heads",
    settings,
    overrides=command.settings(),
    data_root=command["data_root"],
    checkpoint=checkpoint,
    log=lambda message: print(message, file=sys.stderr, flush=True),
  )
  print("\n".join(page))
