"""Prints the share of the machine's matrix product that the work uses (MFU), and its times.

    python benchmarks/mfu.py --work=T1,T2 [--rounds=5]
    python benchmarks/mfu.py --work=G-base,G-big,G-decode [--batches=1]       on one accelerator

--batches is how many batches of a round of training there are, each of another shape to compile.
The operations are those that real tokens need (`work.training_flops`): padding, dropout and the
optimizer do not count. The ceiling is the best rate of a square product here, measured before; the
one measured after says how steady it was. For search it prints the speed only. Prints JSON lines
and a table.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import work

PEAK = """
import json
from transformer_jax import parallel
parallel.start_up()
from transformer_jax.analysis.timing import matmul_flops_per_second
from transformer_jax.machine import hardware
import jax
is_cpu = jax.default_backend() == "cpu"
size = 2048 if is_cpu else 8192
dtypes = ("float32",) if is_cpu else ("float32", "bfloat16")
peaks = {dtype: matmul_flops_per_second(size, 9, dtype) for dtype in dtypes}
print(json.dumps(dict(hardware(), jax=jax.__version__, peaks=peaks)))
"""


def run(*command: Any) -> dict[str, Any]:
  """Returns the JSON that a command of Python prints in its last line."""
  finished = subprocess.run(
    [sys.executable, *map(str, command)], check=True, stdout=subprocess.PIPE, text=True
  )
  return json.loads(finished.stdout.splitlines()[-1])


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--work", default="T1,T2")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--batches", type=int)
  options = parser.parse_args()
  before = run("-c", PEAK)
  peaks = before.pop("peaks")
  worker = pathlib.Path(__file__).with_name("worker.py")
  records = []
  for name in options.work.split(","):  # each line at once: a time limit may end the next work
    command = [worker, f"--work={name}", f"--rounds={options.rounds}"]
    if options.batches:
      work.SIZES[name]["batches"] = options.batches
      command.append(f"--batches={options.batches}")
    record = run(*command) | before
    _add_shares(record, peaks)
    print(json.dumps(record), flush=True)
    records.append(record)
  after = run("-c", PEAK)["peaks"]
  ceilings = [
    f"{dtype} {peak / 1e9:,.0f} GFLOP/s, {after[dtype] / 1e9:,.0f} afterwards"
    for dtype, peak in peaks.items()
  ]
  print(f"\n{before}; ceiling {', '.join(ceilings)}\n")
  print(*table(records), sep="\n")


def _add_shares(record: dict[str, Any], peaks: dict[str, float]) -> None:
  """Adds the ceiling and, for training, the time and the operations of an update, and the MFU."""
  size = work.SIZES[record["work"]]
  ceiling = peaks.get(size.get("dtype", "float32"), 0)
  record["ceiling_flops_per_second"] = ceiling
  if record["flop"]:
    record["ms_per_update"] = 1e3 * record["s"] / size["batches"]
    record["flop_per_update"] = record["flop"] / size["batches"]
    record["mfu"] = record["flop"] / record["s"] / ceiling


def table(records: Sequence[dict[str, Any]]) -> Iterator[str]:
  """Yields lines of Markdown."""
  yield (
    "| work | ms per update | GFLOP per update | MFU | target tokens/s "
    "| peak memory of the host, MB |"
  )
  yield "|---|---|---|---|---|---|"
  for r in records:
    if r["flop"]:
      milliseconds = f"{r['ms_per_update']:,.1f}"
      update = f"{milliseconds} | {r['flop_per_update'] / 1e9:,.0f} | {100 * r['mfu']:.0f}%"
    else:
      update = "- | - | -"
    yield f"| {r['work']} | {update} | {r['tokens_per_second']:,.0f} | {r['rss_mb']:,} |"


if __name__ == "__main__":
  main()
