"""The work that is timed, and the protocol of a worker.

It needs only numpy: the environment of any system can import it. A worker builds its system for
`SIZES[work]`, gives `serve` a function that does one round of the work, and from then on does one
for each line "go" on stdin: a harness takes rounds of several workers in turn, so that a noisy
machine disturbs all of them the same.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# (source, target) of a batch, int32 arrays padded with PAD
Batch = tuple[np.ndarray, np.ndarray]

_STARTED = time.perf_counter()  # the worker has only begun to import

# Ids. A worker whose system starts from PAD needs no BOS.
PAD = 0
BOS = 1
EOS = 2
FIRST_WORD = 4

_SMALL = dict(d=256, layers=3, ff=1024, h=4, vocab=8_000)
_BASE = dict(d=512, layers=6, ff=2048, h=8, vocab=37_000)
_BIG = dict(d=1024, layers=6, ff=4096, h=16, vocab=37_000)
_TINY = dict(d=32, layers=1, ff=64, h=2, vocab=100)

# `budget`: padded positions of a batch's side; `batches`: of a round; `mean`: length in tokens;
# `rows`: a batch has a multiple of them, which products on a GPU need to be fast.
# T: training, D: beam search, A: attention alone, S: a whole sub-layer with its projections, G: on
# a GPU. tiny works are there to try a script.
SIZES = {
  "T1": dict(_SMALL, mean=15, budget=2048, batches=4),
  "T2": dict(_BASE, mean=28, budget=2048, batches=1),
  "D1": dict(_BASE, mean=28, batch=32, out=28, beam=4, repeats=1),
  "D1b1": dict(_BASE, mean=28, batch=1, out=28, beam=4, repeats=4),
  "A1S": dict(batch=64, length=32, width=512),
  "A1": dict(batch=32, length=128, width=512),
  "A1L": dict(batch=32, length=1024, width=512),
  "S1S": dict(batch=64, length=32, width=512),
  "S1": dict(batch=32, length=128, width=512),
  "G-base": dict(_BASE, mean=28, budget=25_000, batches=4, rows=8, dtype="bfloat16"),
  "G-big": dict(_BIG, mean=28, budget=25_000, batches=4, rows=8, dtype="bfloat16"),
  "G-decode": dict(_BASE, mean=28, batch=1024, out=28, beam=4, repeats=1, dtype="bfloat16"),
  "T-tiny": dict(_TINY, mean=9, budget=256, batches=2),
  "D-tiny": dict(_TINY, mean=9, batch=4, out=6, beam=4, repeats=1),
  "A-tiny": dict(batch=2, length=16, width=32),
  "S-tiny": dict(batch=2, length=16, width=32),
}


def _pairs(size, count, seed):
  """Returns sentence pairs as ids that end in EOS.

  Lengths are log-normal with a deviation of 0.45 of the mean; those of a pair correlate to 0.9.
  Words follow Zipf's law.
  """
  rng = np.random.default_rng(seed)
  sigma = np.sqrt(np.log(1 + 0.45**2))
  z = rng.standard_normal((count, 2))
  z[:, 1] = 0.9 * z[:, 0] + np.sqrt(1 - 0.81) * z[:, 1]
  log_lengths = np.log(size["mean"]) - sigma**2 / 2 + sigma * z
  lengths = np.clip(np.rint(np.exp(log_lengths)), 3, 100).astype(int)
  num_words = size["vocab"] - FIRST_WORD

  def words(length):
    ranks = np.exp(rng.random(length) * np.log(num_words)).astype(int)
    return np.append(np.clip(ranks, 1, num_words) - 1 + FIRST_WORD, EOS)

  return [(words(source - 1), words(target - 1)) for source, target in lengths]


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
  """Returns int32 [rows, longest], filled up with PAD."""
  array = np.full((len(rows), max(map(len, rows))), PAD, np.int32)
  for row, ids in zip(array, rows, strict=True):
    row[: len(ids)] = ids
  return array


def training_batches(work: str, seed: int = 0) -> list[Batch]:
  """Returns the batches of a round: pairs of like length.

  They are spread evenly over the lengths of forty batches.
  """
  size = SIZES[work]
  pairs = _pairs(size, 40 * size["budget"] // size["mean"], seed)
  pairs.sort(key=lambda pair: (max(map(len, pair)), len(pair[1])))
  batches = []
  batch = []
  for pair in pairs:  # each has the longest side so far
    if batch and max(map(len, pair)) * (len(batch) + 1) > size["budget"]:
      whole = len(batch) - len(batch) % size.get("rows", 1)
      batches.append(batch[:whole])
      batch = batch[whole:]
    batch.append(pair)
  chosen = np.linspace(0, len(batches) - 1, size["batches"] + 2).round().astype(int)[1:-1]
  return [_padded(batches[index]) for index in chosen]


def _padded(pairs):
  sources, targets = zip(*pairs, strict=True)
  return pad(sources), pad(targets)


def target_tokens(batches: Sequence[Batch]) -> int:
  """Returns the number of real target tokens, EOS among them."""
  return int(sum((target != PAD).sum() for _, target in batches))


def search_sources(work: str, seed: int = 1) -> list[np.ndarray]:
  """Returns the sources to search with, as ids; a single one has the mean length."""
  size = SIZES[work]
  if size["batch"] > 1:
    return [source for source, _ in _pairs(size, size["batch"], seed)]
  return [next(source for source, _ in _pairs(size, 1000, seed) if len(source) == size["mean"])]


def training_flops(work: str, batches: Sequence[Batch]) -> float:
  """Returns the operations that a round's real tokens need, forward and backward.

  They are 6 for each parameter that a token meets, those of the logits included, and attention's.
  """
  size = SIZES[work]
  d, ff, layers = size["d"], size["ff"], size["layers"]
  # Parameters that a source token meets: its own layers, and the decoder's keys and values of it.
  per_source = layers * (4 * d * d + 2 * d * ff + 2 * d * d)
  per_target = layers * (6 * d * d + 2 * d * ff) + d * size["vocab"]
  flops = 0
  for batch in batches:
    source, target = ((side != PAD).sum(1, dtype=np.int64) for side in batch)
    flops += 6 * (per_source * source.sum() + per_target * target.sum())
    scores = (source**2).sum() + (target**2).sum() + (source * target).sum()
    flops += 12 * d * layers * scores
  return float(flops)


def arguments() -> argparse.Namespace:
  """Returns a worker's command line.

  It sets thread counts, so it must be read before the system is imported.
  """
  parser = argparse.ArgumentParser()
  parser.add_argument("--work", default="T1", choices=SIZES)
  parser.add_argument("--variant", default="")
  parser.add_argument("--rounds", type=int, default=5, help="alone: rounds that are timed")
  parser.add_argument("--warmup", type=int, default=2, help="rounds before")
  parser.add_argument("--threads", type=int, default=os.cpu_count())
  parser.add_argument("--batches", type=int, help="of a round of training, if not the work's own")
  parser.add_argument("--serve", action="store_true", help="a round for each line on stdin")
  options = parser.parse_args()
  if options.batches:
    SIZES[options.work]["batches"] = options.batches
  for name in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{name}_NUM_THREADS", str(options.threads))
  return options


def serve(
  options: argparse.Namespace,
  system: str,
  version: str,
  run_round: Callable[[], int],
  **facts: Any,
) -> None:
  """Warms up, then serves or, without --serve, times rounds and prints one JSON line.

  A served round is a JSON line of tokens, s (seconds), cpu_s (of all threads), rss_mb (peak memory
  until now).

  Args:
    options: the command line.
    system, version: the system's name and version.
    run_round: function that does a round to its end and returns the number of its tokens.
    **facts: more about the system, for the record.
  """
  start = time.perf_counter()
  run_round()
  facts = dict(
    system=system,
    work=options.work,
    variant=options.variant,
    version=version,
    first_round_s=time.perf_counter() - start,
    start_to_first_round_s=time.perf_counter() - _STARTED,
    **facts,
  )
  for _ in range(options.warmup - 1):
    run_round()
  if not options.serve:
    rounds = [_timed(run_round) for _ in range(options.rounds)]
    print(json.dumps(dict(facts, **summary(rounds))))
    return
  print("READY " + json.dumps(facts), flush=True)
  for _ in sys.stdin:
    print(json.dumps(_timed(run_round)), flush=True)


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns medians over served rounds, and the fastest and the slowest speed."""
  speeds = [r["tokens"] / r["s"] for r in rounds]
  return dict(
    rounds=len(rounds),
    tokens_per_second=np.median(speeds),
    slowest=min(speeds),
    fastest=max(speeds),
    s=np.median([r["s"] for r in rounds]),
    cpu_s=np.median([r["cpu_s"] for r in rounds]),
    rss_mb=rounds[-1]["rss_mb"],
  )


def _timed(run_round):
  """Does a round; returns its record."""
  cpu_start = time.process_time()
  start = time.perf_counter()
  tokens = run_round()
  return dict(
    tokens=tokens,
    s=time.perf_counter() - start,
    cpu_s=time.process_time() - cpu_start,
    rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
  )
