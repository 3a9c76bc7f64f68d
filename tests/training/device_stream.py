"""Trains a small model on generated, very unevenly padded batches and prints the loss of each step, one a line.

    python tests/training/device_stream.py STEPS [COORDINATOR NUM_PROCESSES PROCESS_ID]

The test beside it runs this with different numbers of devices and processes; the losses must agree.
"""

import sys

import numpy as np

from transformer_jax import parallel


def batch(step):
  """Eleven pairs whose lengths run from 1 to the full width, so that devices hold very different numbers of tokens."""
  rng = np.random.default_rng(step)
  sides = []
  for width in (24, 20):
    tokens = rng.integers(3, 40, (11, width), dtype=np.int32)
    for row, length in enumerate(
      np.maximum(1, np.rint(width * np.linspace(0, 1, 11) ** 3).astype(int))
    ):
      tokens[row, length - 1] = 1
      tokens[row, length:] = 0
    sides.append(tokens[np.argsort(tokens.astype(bool).sum(1))])
  return sides


def main():
  """Prints one loss a step."""
  steps = int(sys.argv[1])
  where = (
    dict(coordinator=sys.argv[2], num_processes=int(sys.argv[3]), process_id=int(sys.argv[4]))
    if sys.argv[2:]
    else {}
  )
  parallel.start_up(**where)
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
  train_step, reset = TrainStep(config, model), make_reset()
  for step in range(steps):
    state, _ = train_step(state, [tuple(map(parallel.shard_rows, batch(step)))])
    sums = parallel.to_host(state.sums)
    if parallel.is_primary():
      print(repr(float(sums.loss) / int(sums.target_tokens)), flush=True)
    state = reset(state)


if __name__ == "__main__":
  main()
