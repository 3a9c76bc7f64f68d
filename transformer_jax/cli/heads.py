"""`transformer-jax heads`."""

import sys

SETTINGS = dict(groups=("decode",), overrides=True)


def declare(command):
  """The flags besides the decoding settings."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare_path(
    "output", "folder for heads.json, heads.md and the figures; default: heads/ in the workdir"
  )
  command.declare(
    "split", "valid", "which of the run's splits everything is measured on", ["valid", "test"]
  )
  command.declare("sentences", 1000, "sentences for importance, roles and perplexity")
  command.declare("bleu_sentences", 200, "how many of them are translated, again for each head")
  command.declare("random_orders", 3, "random orders of pruning beside the one by importance")
  command.declare_checkpoint()


def run(command):
  """Prints the page."""
  checkpoint = command.checkpoint()
  workdir = command.workdir_of_a_run()
  for name in ("sentences", "bleu_sentences"):
    command.at_least(name, 1)
  command.at_least("random_orders", 0)
  from transformer_jax.analysis.heads.report import report

  page = report(
    workdir,
    command["output"] or f"{workdir}/heads",
    overrides=command.settings(),
    split=command["split"],
    sentences=command["sentences"],
    bleu_sentences=command["bleu_sentences"],
    random_orders=command["random_orders"],
    data_root=command["data_root"],
    checkpoint=checkpoint,
    log=lambda message: print(message, file=sys.stderr, flush=True),
  )
  print("\n".join(page))
