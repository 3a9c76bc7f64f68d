"""Prints the alignment error rate of a translation run on a gold standard, in percent.

    python benchmarks/alignment_error.py --workdir=RUN [--all_heads] [--gold=FILE]

The gold standard is alignment/german_english.tsv: 42 sentence pairs with links by hand, for a run
from German to English or back. The model reads the given translation, so its own does not matter.
Prints a JSON line for the heads that `translate --alignment` uses. --all_heads adds a line for each
head and layer, by the position that predicts an output word, and by the one that reads it.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator, Sequence

from transformer_jax.data.text import read_lines
from transformer_jax.metrics.alignment import GoldPair, alignment_error_rate, gold_pairs
from transformer_jax.runs.alignment import Aligner, Heads, heads_of_run
from transformer_jax.runs.trained_model import TrainedModel

GOLD = pathlib.Path(__file__).resolve().parent / "alignment" / "german_english.tsv"


def main() -> None:
  """Prints the lines."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="folder of the run")
  parser.add_argument("--gold", default=GOLD, help="lines of source, target and links, with tabs")
  parser.add_argument("--all_heads", action="store_true", help="also each head and each layer")
  arguments = parser.parse_args()
  translator = TrainedModel.load(arguments.workdir)
  is_turned = translator.config.data.source_language == "en"
  pairs = gold_pairs(read_lines(arguments.gold), arguments.gold)
  gold = [_turned(pair) if is_turned else pair for pair in pairs]
  heads = heads_of_run(translator, arguments.workdir)
  _print("used", heads, "predicts", _links(translator, heads, gold)["predicts"], gold)
  if arguments.all_heads:
    for name, each in _choices(translator):
      for position, found in _links(translator, each, gold).items():
        _print(name, each, position, found, gold)


def _turned(pair: GoldPair) -> GoldPair:
  """Returns a pair for the other direction of translation."""
  sure, possible = (frozenset((b, a) for a, b in links) for links in (pair.sure, pair.possible))
  return GoldPair(pair.target, pair.source, sure, possible)


def _choices(translator: TrainedModel) -> Iterator[tuple[str, Heads]]:
  """Yields a name and the heads: each head, each layer, and all."""
  model = translator.config.model
  layers = [[(layer, head) for head in range(model.num_heads)] for layer in range(model.num_layers)]
  for layer in layers:
    yield from (("head", [head]) for head in layer)
    yield "layer", layer
  yield "all", [head for layer in layers for head in layer]


def _links(
  translator: TrainedModel, heads: Heads, gold: Sequence[GoldPair]
) -> dict[str, list[list[tuple[int, int]]]]:
  """Returns the links of the gold translations by both positions of the decoder."""
  aligner = Aligner(translator, heads)
  pairs = list(translator.encoded_pairs((pair.source, pair.target) for pair in gold))
  found = dict(predicts=[], reads=[])
  weights = translator.cross_attention(pairs, heads)
  for pair, (_, target), weights_TS in zip(gold, pairs, weights, strict=True):
    for position, rows_TS in (("predicts", weights_TS[:-1]), ("reads", weights_TS[1:])):
      links = aligner.links_of_weights(pair.source, target[:-1], pair.target, rows_TS)
      found[position].append(links)
  return found


def _print(
  name: str,
  heads: Heads,
  position: str,
  found: list[list[tuple[int, int]]],
  gold: Sequence[GoldPair],
) -> None:
  names = [f"{layer + 1}.{head + 1}" for layer, head in heads]
  error = {key: round(value, 1) for key, value in alignment_error_rate(found, gold).items()}
  print(json.dumps(dict(choice=name, heads=names, position=position, **error)), flush=True)


if __name__ == "__main__":
  main()
