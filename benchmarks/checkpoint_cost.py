"""What a checkpoint costs a training run: how long it holds an update up, and what its writing in the background takes.

    python benchmarks/checkpoint_cost.py [--preset=base|tiny] [--updates=8] [--batch_tokens=1024]

Trains the paper's base model (65 million parameters with a vocabulary of 37,000) on random tokens: updates alone, then the same with
a checkpoint after the first. Prints one JSON line; `share_per_checkpoint_every_10_minutes` is all the time that it took, by 600 s.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import threading
import time

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep
from transformer_jax.workdir.versions import git_revision

PRESETS = dict(
  base=({}, 37_000),
  tiny=(dict(num_layers=1, d_model=32, d_ff=32, num_heads=2, d_k=16, d_v=16), 100),
)
WIDTH = 32


def main():
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--preset", choices=PRESETS, default="base")
  parser.add_argument("--updates", type=int, default=8)
  parser.add_argument("--batch_tokens", type=int, default=1024)
  parser.add_argument("--folder", help="where the checkpoints go; a temporary folder, unless given")
  options = parser.parse_args()
  parallel.start_up()
  settings, vocab_size = PRESETS[options.preset]
  config = Config().replace(attention_kernel="xla", **settings)
  model = Transformer(config.model, vocab_size, vocab_size)
  state, train_step = (
    parallel.replicate(jax.jit(lambda: initial_state(config, model))()),
    TrainStep(config, model),
  )
  tokens = np.random.default_rng(0).integers(
    3, vocab_size, (2, options.batch_tokens // WIDTH, WIDTH), dtype=np.int32
  )
  batch = tuple(map(parallel.shard_rows, tokens))

  def update():
    nonlocal state
    start = time.perf_counter()
    state, progress = train_step(state, [batch])
    jax.block_until_ready(progress)
    return time.perf_counter() - start

  update()
  alone = [update() for _ in range(options.updates)]
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    checkpoints = Checkpoints(pathlib.Path(folder) / "checkpoints", 1, 0)
    start = time.perf_counter()
    checkpoints.save(1, parallel.to_host(state), {})
    held_up = time.perf_counter() - start
    beside = []
    waiting = threading.Thread(target=checkpoints.wait)
    waiting.start()
    while waiting.is_alive():
      beside.append(update())
    waiting.join()
    written = time.perf_counter() - start
    size = sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
    checkpoints.close()
  usual = statistics.median(alone)
  lost = held_up + sum(seconds - usual for seconds in beside)
  print(
    json.dumps(
      dict(
        preset=options.preset,
        bytes=size,
        update_seconds=usual,
        held_up_seconds=held_up,
        written_after_seconds=written,
        updates_beside_the_writing=len(beside),
        lost_seconds=lost,
        share_per_checkpoint_every_10_minutes=lost / 600,
        device=jax.devices()[0].device_kind,
        jax=jax.__version__,
        revision=git_revision(),
      )
    )
  )


if __name__ == "__main__":
  main()
