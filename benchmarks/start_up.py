"""Times `transformer-jax train` from the command to its first update.

    python benchmarks/start_up.py [--rounds=3] [-- FLAGS]

That is imports, data, tokenizer, initialization, compilation. Each round starts with empty caches
(cold), then once more in a new workdir (warm: encoded data and compiled programs are kept). FLAGS
are flags of train; by default it trains the paper's base model with its 37,000 symbols, on 8,000
pairs of random words, in batches of 2,048 positions. Prints JSON lines.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from side_by_side import where

VOCABULARY, PAIRS, WORDS = 37_000, 8_000, 27


def base_flags(folder: str) -> list[str]:
  """Writes text that has every word of the vocabulary; returns flags to train the base model on."""
  rng = np.random.default_rng(0)
  flags = []
  words = [f"w{number}" for number in range(VOCABULARY - 3)]  # PAD, EOS and UNK are symbols too
  for side in ("source", "target"):
    text = rng.permutation(np.resize(words, PAIRS * WORDS)).reshape(PAIRS, WORDS)
    lengths = rng.integers(WORDS // 2, WORDS + 1, PAIRS)
    lines = [" ".join(line[:length]) for line, length in zip(text, lengths, strict=True)]
    path = pathlib.Path(folder) / side
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    flags += [f"--train_{side}={path}", f"--valid_{side}={path}"]
  return [
    *flags,
    "--data_source=text",
    "--tokenizer=segmented",
    f"--vocab_size={VOCABULARY}",
    "--batch_tokens=2048",
    "--max_length=64",
    "--bleu_sentences=0",
  ]


def seconds_to_first_update(flags: Sequence[str], folder: str, cache: str) -> float:
  """Starts a training, waits for the metrics of its first update, and ends it."""
  command = [
    sys.executable,
    "-m",
    "transformer_jax",
    "train",
    f"--workdir={folder}",
    "--log_every=1",
    "--train_steps=1000",
    *flags,
  ]
  metrics = pathlib.Path(folder) / "metrics.jsonl"
  start = time.perf_counter()
  with subprocess.Popen(
    command,
    env=dict(os.environ, TRANSFORMER_JAX_CACHE=cache),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    while not (metrics.exists() and metrics.stat().st_size):
      if process.poll() is not None:
        raise RuntimeError(process.stderr.read())
      time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.kill()
  return seconds


def seconds_of_imports() -> float:
  """Returns the time of a process that only imports what train does."""
  start = time.perf_counter()
  subprocess.run([sys.executable, "-c", "import transformer_jax.runs.train"], check=True)
  return time.perf_counter() - start


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("flags", nargs="*", help="flags of train")
  options = parser.parse_args()
  measured: dict[str, list[float]] = dict(cold=[], warm=[])
  for _ in range(options.rounds):
    with tempfile.TemporaryDirectory() as folder:
      flags = options.flags or base_flags(folder)
      for name, seconds in measured.items():
        seconds.append(seconds_to_first_update(flags, f"{folder}/{name}", f"{folder}/cache"))
  imports = seconds_of_imports()
  for name, seconds in measured.items():
    record = dict(
      caches=name,
      seconds=statistics.median(seconds),
      fastest=min(seconds),
      slowest=max(seconds),
      imports=imports,
      flags=options.flags or "base",
      **where(),
    )
    print(json.dumps(record))


if __name__ == "__main__":
  main()
