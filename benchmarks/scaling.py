"""Shows how the time of an update grows with length, batch, width, vocabulary, depth and devices.

    python benchmarks/scaling.py [--rounds=5]

Measured: a small model (d 256, 3 + 3 layers, vocabulary 8,000) with 2,048 + 2,048 positions of
sentences of 16 tokens; one of these is changed at a time. By arithmetic: the paper's models on up
to thousands of chips. Prints Markdown.
"""

import argparse
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.analysis.cost import formulas as cost
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.analysis.timing import Subject, interleaved_timings
from transformer_jax.config import PAPER_TOKENS_PER_UPDATE, Config, ModelConfig
from transformer_jax.machine import hardware
from transformer_jax.model.transformer import Transformer
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep
from transformer_jax.workdir.versions import git_revision

USUAL = dict(length=16, positions=2048, d_model=256, vocabulary=8_000, num_layers=3)
VARIED = dict(
  length=(8, 16, 32, 64, 128, 256),
  positions=(512, 1024, 2048, 4096),
  d_model=(128, 256, 512),
  vocabulary=(1_000, 8_000, 32_000),
  num_layers=(1, 3, 6),
)
D_K = 64

# Of one chip, each way: the bf16 rate of large products, and the bandwidth of its share of the
# slowest link that all must cross.
CHIPS = {
  "H200, NVLink within 8, 400 Gbit/s a GPU beyond": (
    788e12,
    lambda count: 450e9 if count <= 8 else 50e9,
  ),
  "TPU v5p, torus": (459e12, lambda count: 300e9),
}
CHIP_COUNTS = (1, 8, 64, 512, 4096)
MEAN_LENGTH = 28  # tokens of a sentence
VOCABULARY = 37_000
ASSUMED_MFU = 0.4


def update(
  length: int, positions: int, d_model: int, vocabulary: int, num_layers: int
) -> tuple[Callable[[], Any], float]:
  """Returns a function that does an update, and the operations of one."""
  config = Config().replace(
    num_layers=num_layers,
    d_model=d_model,
    d_ff=4 * d_model,
    num_heads=d_model // D_K,
    d_k=D_K,
    d_v=D_K,
  )
  model = Transformer(config.model, vocabulary, vocabulary)
  train_step = TrainStep(config, model)
  state = parallel.replicate(jax.jit(lambda: initial_state(config, model))())
  shape = (2, positions // length, length)
  tokens = np.random.default_rng(0).integers(3, vocabulary, shape, dtype=np.int32)
  source, target = map(parallel.shard_rows, tokens)

  def call():
    nonlocal state
    state, progress = train_step(state, [(source, target)])
    return progress

  return call, cost.update_flops(config.model, vocabulary, positions, positions, length, length)


def measured(rounds: int) -> Iterator[str]:
  """Yields the lines of a table for each of VARIED."""
  for name, values in VARIED.items():
    updates = [update(**{**USUAL, name: value}) for value in values]
    subjects = [Subject(call, None, None) for call, _ in updates]
    timings = interleaved_timings(subjects, rounds, warm_up=2)
    yield ""
    yield f"| {name} | ms per update | positions a second | GFLOP | GFLOP/s |"
    yield "|---|---|---|---|---|"
    for value, (_, flop), timing in zip(values, updates, timings, strict=True):
      positions = value if name == "positions" else USUAL["positions"]
      seconds = timing.median
      yield (
        f"| {value:,} | {1e3 * seconds:,.1f} | {positions / seconds:,.0f} | {flop / 1e9:,.1f} "
        f"| {flop / seconds / 1e9:,.0f} |"
      )


def counted() -> Iterator[str]:
  """Yields tables of an update's computation on one chip and the all-reduce of its gradients."""
  for chip in CHIPS:
    yield ""
    yield f"{chip}; {100 * ASSUMED_MFU:.0f}% MFU assumed."
    yield ""
    yield (
      "| model | chips | tokens of an update, each side | computing, ms | all-reduce, ms | "
      "efficiency if nothing overlaps |"
    )
    yield "|---|---|---|---|---|---|"
    for row in (ROWS[0], ROWS[-1]):
      for count in CHIP_COUNTS:
        for tokens in sorted({PAPER_TOKENS_PER_UPDATE, PAPER_TOKENS_PER_UPDATE * count}):
          yield f"| {row.name} | {_counted_columns(row.config().model, chip, count, tokens)} |"


def _counted_columns(model: ModelConfig, chip: str, count: int, tokens: int) -> str:
  """Returns the columns after the model's name."""
  rate, bandwidth = CHIPS[chip]
  flops = cost.update_flops(model, VOCABULARY, tokens, tokens, MEAN_LENGTH, MEAN_LENGTH)
  computing = flops / (rate * ASSUMED_MFU * count)
  # A ring: each chip sends and receives its gradients, float32, nearly twice.
  bytes_of_gradients = 4 * parameter_count(model, VOCABULARY)
  reducing = 2 * (count - 1) / count * bytes_of_gradients / bandwidth(count)
  efficiency = computing / (computing + reducing)
  return (
    f"{count:,} | {tokens:,} | {1e3 * computing:,.2f} | {1e3 * reducing:,.2f} "
    f"| {100 * efficiency:.0f}%"
  )


@functools.cache
def parameter_count(model: ModelConfig, vocabulary: int) -> int:
  """Returns the number of parameters; it computes shapes only."""
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  module = Transformer(model, vocabulary, vocabulary)
  shapes = jax.eval_shape(module.init, jax.random.key(0), tokens, tokens)
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def main() -> None:
  """Measures, counts, prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rounds", type=int, default=5)
  options = parser.parse_args()
  parallel.start_up()
  print(json.dumps(dict(hardware(), jax=jax.__version__, revision=git_revision())))
  for line in (*measured(options.rounds), *counted()):
    print(line, flush=True)


if __name__ == "__main__":
  main()
