"""Trains a small model on generated, very unevenly padded batches; prints a loss for each step.

    python tests/training/device_stream.py STEPS [COORDINATOR NUM_PROCESSES PROCESS_ID]

The test beside it runs this with different numbers of devices and processes; the losses must agree.
"""

import sys

import numpy as np

from transformer_jax import parallel

ROWS = 11


def batch(step):
  """Returns eleven pairs, shortest first, whose lengths run from 1 to the full width.

  So devices hold very different numbers of tokens.
  """
  rng = np.random.default_rng(step)
  return [side(rng, width) for width in (24, 20)]


def side(rng, width):
  """Returns int32 [ROWS, width] of random words, each row with EOS and then padding."""
  tokens = rng.integers(3, 40, (ROWS, width), dtype=np.int32)
  shares = np.linspace(0, 1, ROWS) ** 3
  lengths = np.maximum(1, np.rint(width * shares).astype(int))
  for row, length in enumerate(lengths):
    tokens[row, length - 1] = 1
    tokens[row, length:] = 0
  return tokens[np.argsort(tokens.astype(bool).sum(1))]


def main():
  """Prints one loss a step."""
  steps, *where = sys.argv[1:]
  if where:
    coordinator, num_processes, process_id = where
    parallel.start_up(coordinator, int(num_processes), int(process_id))
  else:
    parallel.start_up()
  from transformer_jax.config import Config
  from transformer_jax.model.transformer import Transformer
  from transformer_jax.training.state import initial_state
  from transformer_jax.training.step import TrainStep, make_reset

  config = Config().replace(
    num_layers=1,
    d_model=32,
    d_ff=48,
    num_heads=2,
    d_k=16,
    d_v=16,
    attention_kernel="xla",
    dropout_rate=0.0,
    warmup_steps=400,
  )
  model = Transformer(config.model, 40, 40)
  state = parallel.replicate(initial_state(config, model))
  train_step = TrainStep(config, model)
  reset = make_reset()
  for step in range(int(steps)):
    source, target = map(parallel.shard_rows, batch(step))
    state, _ = train_step(state, [(source, target)])
    sums = parallel.to_host(state.sums)
    if parallel.is_primary():
      print(repr(float(sums.loss) / int(sums.target_tokens)), flush=True)
    state = reset(state)


if __name__ == "__main__":
  main()
