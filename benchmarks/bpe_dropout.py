"""What it costs to cut a run's training text into sub-words anew (BPE-dropout).

    python benchmarks/bpe_dropout.py --workdir=runs/tatoeba --data_root=DIR

It prints a JSON line: the pairs and tokens of an epoch, the processor seconds of cutting them, how
much longer the sides become, and the seconds that training is held up at the begin of an epoch
whose pairs have been cut in time.
"""

import argparse
import os
import time

import numpy as np
from side_by_side import where

from transformer_jax.config import Config
from transformer_jax.data.bucketing import choose_buckets
from transformer_jax.data.encoded import EncodedPairs
from transformer_jax.data.recut import Recutter
from transformer_jax.data.recut_ahead import EpochCuts
from transformer_jax.runs.prepare import prepare
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--data_root", default=os.environ.get("TRANSFORMER_JAX_DATA", "."))
  parser.add_argument("--rate", type=float, default=0.1)
  options = parser.parse_args()
  folder = Workdir(options.workdir, primary=False)
  config = Config.from_flat(folder.read_config())
  prepared = prepare(config, options.data_root, folder.tokenizer)
  plain = prepared.encoded["train"]
  assert isinstance(plain, EncodedPairs)
  recutter = Recutter(plain, prepared.task.tokenizer, options.rate, config.train.seed)
  start, begin = time.process_time(), time.perf_counter()
  cut = recutter.cut(0, range(len(plain)))
  processor_seconds, seconds = time.process_time() - start, time.perf_counter() - begin
  cuts = EpochCuts(recutter, config.data.max_length)
  buckets = choose_buckets(*cuts.expected_lengths(), config.data.num_buckets)
  cuts.pairs(0, buckets)
  time.sleep(2 * seconds)  # the next epoch is cut in the meantime
  begin = time.perf_counter()
  cuts.pairs(1, buckets)
  held_up = time.perf_counter() - begin
  tokens = int(cut.source_lengths.sum() + cut.target_lengths.sum())
  figures = dict(
    workdir=folder.path.name,
    rate=options.rate,
    pairs=len(plain),
    tokens=tokens,
    processor_seconds=processor_seconds,
    tokens_per_processor_second=tokens / processor_seconds,
    source_growth=float(np.sum(cut.source_lengths) / np.sum(plain.source_lengths)),
    target_growth=float(np.sum(cut.target_lengths) / np.sum(plain.target_lengths)),
    held_up_seconds=held_up,
  )
  print(json_text(figures | where()))


main()
