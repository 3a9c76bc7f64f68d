"""Times the attention kernels, forward and backward, over lengths and head counts, and says which of them `auto` shall take.

    python benchmarks/attention_kernels.py [--dtype=float32] [--kernels=...] [--write]

h d_k is 512; examples have padding, as in an encoder. Prints a JSON line for each shape and a Markdown table; --write puts the
choices into transformer_jax/attention/fastest.json, under this backend and dtype. Run it on a quiet machine.
"""

import argparse
import json
import math

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import attention, parallel
from transformer_jax.analysis.cost.heads import serving_kernels
from transformer_jax.analysis.timing import compiled, interleaved_timings
from transformer_jax.attention import KERNELS, Mask
from transformer_jax.machine import hardware
from transformer_jax.workdir.versions import git_revision

WIDTH = 512
_PADDING = 0.1  # of a batch, about what buckets leave
_LEAST_MEMORY, _NEARLY = (
  "blocked",
  1.05,
)  # the kernel that is taken where it is nearly as fast as the fastest


def subject(kernel, dtype, batch, length, heads):
  """Forward and backward of a kernel, compiled."""
  arrays = [
    jnp.asarray(
      np.random.default_rng(seed).standard_normal((batch, length, heads, WIDTH // heads)), dtype
    )
    for seed in range(4)
  ]
  lengths_B = jnp.asarray(np.linspace(length * (1 - 2 * _PADDING), length, batch).astype(np.int32))

  def both(query, key, value, slope, lengths_B):
    attend = lambda *x: KERNELS[kernel].attend(*x, Mask(key_lengths_B=lengths_B), None)
    values, pull = jax.vjp(attend, query, key, value)
    return values, pull(slope)

  return compiled(both, *arrays, lengths_B)


def choice(milliseconds):
  """The kernel to take."""
  fastest = min(milliseconds, key=milliseconds.get)
  return (
    _LEAST_MEMORY
    if milliseconds.get(_LEAST_MEMORY, math.inf) <= _NEARLY * milliseconds[fastest]
    else fastest
  )


def main():
  """Measures, prints, writes."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--kernels", default=",".join(name for name in KERNELS if name != "auto"))
  parser.add_argument("--lengths", default="16,32,64,128,256,512,1024")
  parser.add_argument("--heads", default="1,2,4,8,16,32")
  parser.add_argument("--positions", type=int, default=4096, help="of a batch")
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--write", action="store_true")
  options = parser.parse_args()
  parallel.start_up()
  kernels, _ = serving_kernels(options.kernels.split(","), options.dtype)
  numbers = lambda text: [int(number) for number in text.split(",")]
  rows = []
  for length in numbers(options.lengths):
    shapes = [(heads, kernel) for heads in numbers(options.heads) for kernel in kernels]
    subjects = [
      subject(kernel, options.dtype, math.ceil(options.positions / length), length, heads)
      for heads, kernel in shapes
    ]
    timings = dict(zip(shapes, interleaved_timings(subjects, options.rounds), strict=True))
    for heads in numbers(options.heads):
      milliseconds = {kernel: round(1e3 * timings[heads, kernel].median, 3) for kernel in kernels}
      memory = {
        kernel: s.peak_bytes for (h, kernel), s in zip(shapes, subjects, strict=True) if h == heads
      }
      rows.append(
        dict(
          length=length,
          num_heads=heads,
          kernel=choice(milliseconds),
          milliseconds=milliseconds,
          peak_bytes=memory,
        )
      )
      print(json.dumps(rows[-1]), flush=True)
  where = dict(
    hardware(), jax=jax.__version__, revision=git_revision(), positions=options.positions
  )
  print(
    f"\n{options.dtype}, {where}\n\n| T | h | {' | '.join(kernels)} |\n|{'---|' * (len(kernels) + 2)}"
  )
  for row in rows:
    times = [
      f"**{ms:.1f}**" if kernel == row["kernel"] else f"{ms:.1f}"
      for kernel, ms in row["milliseconds"].items()
    ]
    print(f"| {row['length']} | {row['num_heads']} | {' | '.join(times)} |")
  if options.write:
    path = attention.kernels.FASTEST
    table = json.loads(path.read_text(encoding="utf-8"))
    table[f"{jax.default_backend()} {options.dtype}"] = dict(
      where=where, fastest=[{n: row[n] for n in ("length", "num_heads", "kernel")} for row in rows]
    )
    path.write_text(as_text(table), encoding="utf-8")


def as_text(table):
  """JSON with a line for each shape."""
  parts = []
  for name, part in table.items():
    rows = ",\n  ".join(map(json.dumps, part["fastest"]))
    parts.append(
      f'{json.dumps(name)}: {{"where": {json.dumps(part["where"])}, "fastest": [\n  {rows}]}}'
    )
  return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
  main()
