"""How the time of an update grows with length, batch, width, vocabulary and depth; and, by arithmetic, with devices.

    python benchmarks/scaling.py [--rounds=5]

Measured: a small model (d 256, 3 + 3 layers, vocabulary 8,000) with 2,048 + 2,048 positions of sentences of 16 tokens, one of these
changed at a time. Counted: the paper's models on up to thousands of chips. Prints Markdown.
"""

import argparse
import functools
import json

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.analysis.cost import formulas as cost
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.analysis.timing import Subject, interleaved_timings
from transformer_jax.config import PAPER_TOKENS_PER_UPDATE, Config
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

# Of one chip, each way: the bf16 rate of large products, and the bandwidth of its share of the slowest link that all must cross.
CHIPS = {
  "H200, NVLink within 8, 400 Gbit/s a GPU beyond": (
    788e12,
    lambda count: 450e9 if count <= 8 else 50e9,
  ),
  "TPU v5p, torus": (459e12, lambda count: 300e9),
}
ASSUMED_MFU = 0.4


def update(length, positions, d_model, vocabulary, num_layers):
  """(a function that does an update, the operations of one)."""
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
  tokens = np.random.default_rng(0).integers(
    3, vocabulary, (2, positions // length, length), dtype=np.int32
  )
  batch = tuple(map(parallel.shard_rows, tokens))

  def call():
    nonlocal state
    state, progress = train_step(state, [batch])
    return progress

  return call, cost.update_flops(config.model, vocabulary, positions, positions, length, length)


def measured(rounds):
  """Lines of a table for each of VARIED."""
  for name, values in VARIED.items():
    found = [update(**{**USUAL, name: value}) for value in values]
    timings = interleaved_timings(
      [Subject(call, None, None) for call, _ in found], rounds, warm_up=2
    )
    yield from (
      "",
      f"| {name} | ms per update | positions a second | GFLOP | GFLOP/s |",
      "|---|---|---|---|---|",
    )
    for value, (_, flop), timing in zip(values, found, timings, strict=True):
      positions = value if name == "positions" else USUAL["positions"]
      yield f"| {value:,} | {1e3 * timing.median:,.1f} | {positions / timing.median:,.0f} | {flop / 1e9:,.1f} | {flop / timing.median / 1e9:,.0f} |"


def counted():
  """Lines of tables: an update's computation on one chip, and the all-reduce of its gradients."""
  for chip, (rate, bandwidth) in CHIPS.items():
    yield from (
      "",
      f"{chip}; {100 * ASSUMED_MFU:.0f}% MFU assumed.",
      "",
      "| model | chips | tokens of an update, each side | computing, ms | all-reduce, ms | "
      "efficiency if nothing overlaps |",
      "|---|---|---|---|---|---|",
    )
    for row in (ROWS[0], ROWS[-1]):
      model, vocabulary = row.config().model, 37_000
      parameters = parameter_count(model, vocabulary)
      for count in (1, 8, 64, 512, 4096):
        for tokens in sorted({PAPER_TOKENS_PER_UPDATE, PAPER_TOKENS_PER_UPDATE * count}):
          computing = cost.update_flops(model, vocabulary, tokens, tokens, 28, 28) / (
            rate * ASSUMED_MFU * count
          )
          # A ring: each chip sends and receives its gradients, float32, nearly twice.
          reducing = 2 * (count - 1) / count * 4 * parameters / bandwidth(count)
          yield (
            f"| {row.name} | {count:,} | {tokens:,} | {1e3 * computing:,.2f} | {1e3 * reducing:,.2f} | {100 * computing / (computing + reducing):.0f}% |"
          )


@functools.cache
def parameter_count(model, vocabulary):
  """Parameters, by shapes alone."""
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  module = Transformer(model, vocabulary, vocabulary)
  return sum(
    x.size for x in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), tokens, tokens))
  )


def main():
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
