"""Measures what a checkpoint costs a training run: the update it delays, the background writing.

    python benchmarks/checkpoint_cost.py [--preset=base|tiny] [--updates=8] [--batch_tokens=1024]

Trains the paper's base model (65 million parameters with a vocabulary of 37,000) on random tokens:
first without checkpoints, then with a checkpoint after the first update. Prints one JSON line.
`share_per_checkpoint_every_10_minutes` is all the time that the checkpoint took, divided by 600 s.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import threading
import time
from typing import Any

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.training.state import initial_state
from transformer_jax.training.step import TrainStep
from transformer_jax.workdir.versions import git_revision

# name -> (settings, vocabulary)
PRESETS = dict(
  base=({}, 37_000),
  tiny=(dict(num_layers=1, d_model=32, d_ff=32, num_heads=2, d_k=16, d_v=16), 100),
)
WIDTH = 32


class Training:
  """A training on one random batch.

  Attributes:
    state: the replicated TrainState.
  """

  state: Any

  def __init__(self, preset: str, batch_tokens: int) -> None:
    settings, vocab_size = PRESETS[preset]
    config = Config().replace(attention_kernel="xla", **settings)
    model = Transformer(config.model, vocab_size, vocab_size)
    self.state = parallel.replicate(jax.jit(lambda: initial_state(config, model))())
    self._train_step = TrainStep(config, model)
    shape = (2, batch_tokens // WIDTH, WIDTH)
    tokens = np.random.default_rng(0).integers(3, vocab_size, shape, dtype=np.int32)
    source, target = map(parallel.shard_rows, tokens)
    self._batch = (source, target)

  def update(self) -> float:
    """Does one update; returns its seconds."""
    start = time.perf_counter()
    self.state, progress = self._train_step(self.state, [self._batch])
    jax.block_until_ready(progress)
    return time.perf_counter() - start


def save_beside(training: Training, folder: pathlib.Path) -> tuple[float, float, list[float]]:
  """Saves a checkpoint while updates go on.

  Returns:
    seconds that the next update had to wait, seconds until all was written, and the seconds of each
    update meanwhile.
  """
  checkpoints = Checkpoints(folder / "checkpoints", 1, 0)
  start = time.perf_counter()
  checkpoints.save(1, parallel.to_host(training.state), {})
  held_up = time.perf_counter() - start
  beside = []
  waiting = threading.Thread(target=checkpoints.wait)
  waiting.start()
  while waiting.is_alive():
    beside.append(training.update())
  waiting.join()
  written = time.perf_counter() - start
  checkpoints.close()
  return held_up, written, beside


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--preset", choices=PRESETS, default="base")
  parser.add_argument("--updates", type=int, default=8)
  parser.add_argument("--batch_tokens", type=int, default=1024)
  parser.add_argument("--folder", help="where the checkpoints go; a temporary folder, unless given")
  options = parser.parse_args()
  parallel.start_up()
  training = Training(options.preset, options.batch_tokens)
  training.update()
  alone = [training.update() for _ in range(options.updates)]
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    held_up, written, beside = save_beside(training, pathlib.Path(folder))
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
  usual = statistics.median(alone)
  lost = held_up + sum(seconds - usual for seconds in beside)
  record = dict(
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
  print(json.dumps(record))


if __name__ == "__main__":
  main()
