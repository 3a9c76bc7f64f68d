"""Times the attention kernels, forward and backward, and says which of them `auto` shall take.

    python benchmarks/attention_kernels.py [--dtype=float32] [--kernels=...] [--write]

It goes over lengths and head counts, where h d_k is 512; examples have padding, as in an encoder.
Prints a JSON line for each shape and a Markdown table; --write puts the choices into
transformer_jax/attention/fastest.json, under this backend and dtype. Run it on a quiet machine.
"""

import argparse
import concurrent.futures
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import attention, parallel
from transformer_jax.analysis.cost.heads import can_run, serving_kernels
from transformer_jax.analysis.timing import Subject, compiled, interleaved_timings
from transformer_jax.attention import KERNELS, Mask
from transformer_jax.machine import hardware, usable_cores
from transformer_jax.workdir.versions import git_revision

WIDTH = 512
_PADDING = 0.1  # of a batch, about what buckets leave
# The kernel that is taken if its time is at most this multiple of the fastest one's.
_LEAST_MEMORY = "blocked"
_NEARLY = 1.05


def subject(kernel: str, dtype: str, batch: int, length: int, heads: int) -> Subject:
  """Returns forward and backward of a kernel, compiled."""
  shape = (batch, length, heads, WIDTH // heads)
  draw = lambda seed: jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)
  query, key, value, gradient = map(draw, range(4))
  shortest = length * (1 - 2 * _PADDING)
  lengths_B = jnp.asarray(np.linspace(shortest, length, batch).astype(np.int32))

  def both(query, key, value, gradient, lengths_B):
    def attend(query, key, value):
      return KERNELS[kernel].attend(query, key, value, Mask(key_lengths_B=lengths_B), None)

    values, pull = jax.vjp(attend, query, key, value)
    return values, pull(gradient)

  return compiled(both, query, key, value, gradient, lengths_B)


def choice(milliseconds: dict[str, float]) -> str:
  """Returns the kernel to take."""
  fastest = min(milliseconds, key=milliseconds.__getitem__)
  limit = _NEARLY * milliseconds[fastest]
  if milliseconds.get(_LEAST_MEMORY, math.inf) <= limit:
    return _LEAST_MEMORY
  return fastest


def measured(
  kernels: Sequence[str], dtype: str, length: int, head_counts: Sequence[int], options: Any
) -> Iterator[dict[str, Any]]:
  """Yields a row for each head count at this length: times and memory of the kernels."""
  batch = math.ceil(options.positions / length)
  cases = [
    (heads, kernel)
    for heads in head_counts
    for kernel in kernels
    if can_run(kernel, dtype, WIDTH // heads, WIDTH // heads, length)
  ]
  with concurrent.futures.ThreadPoolExecutor(max(1, (usable_cores() or 1) // 2)) as pool:
    subjects = list(pool.map(lambda case: subject(case[1], dtype, batch, length, case[0]), cases))
  timings = dict(zip(cases, interleaved_timings(subjects, options.rounds), strict=True))
  by_case = dict(zip(cases, subjects, strict=True))
  for heads in head_counts:
    serving = [kernel for kernel in kernels if (heads, kernel) in timings]
    milliseconds = {kernel: round(1e3 * timings[heads, kernel].median, 3) for kernel in serving}
    chosen = choice(milliseconds)
    yield dict(
      length=length,
      num_heads=heads,
      kernel=chosen,
      others=sorted(milliseconds.keys() - {chosen}, key=milliseconds.__getitem__),
      milliseconds=milliseconds,
      peak_bytes={kernel: by_case[heads, kernel].peak_bytes for kernel in serving},
    )


def numbers(text: str) -> list[int]:
  """Returns the numbers between commas."""
  return [int(number) for number in text.split(",")]


def main() -> None:
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--kernels", default=",".join(name for name in KERNELS if name != "auto"))
  parser.add_argument("--lengths", type=numbers, default="16,32,64,128,256,512,1024")
  parser.add_argument("--heads", type=numbers, default="1,2,4,8,16,32")
  parser.add_argument("--positions", type=int, default=4096, help="of a batch")
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--write", action="store_true")
  options = parser.parse_args()
  parallel.start_up()
  kernels, _ = serving_kernels(options.kernels.split(","), options.dtype)
  rows = []
  for length in options.lengths:
    for row in measured(kernels, options.dtype, length, options.heads, options):
      print(json.dumps(row), flush=True)
      rows.append(row)
  where = dict(
    hardware(), jax=jax.__version__, revision=git_revision(), positions=options.positions
  )
  print(f"\n{options.dtype}, {where}\n")
  print(*table(kernels, rows), sep="\n")
  if options.write:
    write(f"{jax.default_backend()} {options.dtype}", where, rows)


def table(kernels: Sequence[str], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
  """Yields lines of Markdown, the chosen kernel's time in bold."""
  yield f"| T | h | {' | '.join(kernels)} |"
  yield f"|{'---|' * (len(kernels) + 2)}"
  for row in rows:
    texts = {kernel: f"{ms:.1f}" for kernel, ms in row["milliseconds"].items()}
    texts[row["kernel"]] = f"**{texts[row['kernel']]}**"
    times = [texts.get(kernel, "-") for kernel in kernels]
    yield f"| {row['length']} | {row['num_heads']} | {' | '.join(times)} |"


def write(name: str, where: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
  """Puts the choices into the table that `auto` reads."""
  path = attention.kernels.FASTEST
  choices = json.loads(path.read_text(encoding="utf-8"))
  kept = ("length", "num_heads", "kernel", "others")  # others: for what the kernel cannot serve
  choices[name] = dict(where=where, fastest=[{key: row[key] for key in kept} for row in rows])
  path.write_text(as_text(choices), encoding="utf-8")


def as_text(choices: dict[str, Any]) -> str:
  """Returns JSON with a line for each shape."""
  parts = []
  for name, part in choices.items():
    rows = ",\n  ".join(map(json.dumps, part["fastest"]))
    where = json.dumps(part["where"])
    parts.append(f'{json.dumps(name)}: {{"where": {where}, "fastest": [\n  {rows}]}}')
  return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
  main()
