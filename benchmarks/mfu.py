"""How much of the machine's matrix product the work uses (MFU), and the time of an update; of search, the speed.

    python benchmarks/mfu.py --work=T1,T2 [--rounds=5]
    python benchmarks/mfu.py --work=G-base,G-big,G-decode          on one accelerator

The operations are those that real tokens need (`work.training_flops`): padding, dropout and the optimizer count as nothing. The
ceiling is the best rate of a square product here, measured before and after: the better one counts. Prints JSON lines and a table.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import work

PEAK = """
import json
from transformer_jax import parallel
parallel.start_up()
from transformer_jax.machine import hardware
from transformer_jax.analysis.timing import matmul_flops_per_second
import jax
size = {"cpu": 2048}.get(jax.default_backend(), 8192)
print(json.dumps(dict(hardware(), jax=jax.__version__, peaks={d: matmul_flops_per_second(size, 9, d) for d in ("float32", "bfloat16")[:1 if size < 8192 else 2]})))
"""


def run(*command):
  """The JSON that a command prints in its last line."""
  found = subprocess.run(
    [sys.executable, *map(str, command)], check=True, stdout=subprocess.PIPE, text=True
  )
  return json.loads(found.stdout.splitlines()[-1])


def main():
  """Measures and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--work", default="T1,T2")
  parser.add_argument("--rounds", type=int, default=5)
  options = parser.parse_args()
  before = run("-c", PEAK)
  records = [
    run(
      pathlib.Path(__file__).with_name("worker.py"), f"--work={name}", f"--rounds={options.rounds}"
    )
    for name in options.work.split(",")
  ]
  after = run("-c", PEAK)
  peaks = {dtype: max(peak, after["peaks"][dtype]) for dtype, peak in before["peaks"].items()}
  where = {name: value for name, value in before.items() if name != "peaks"}
  for r in records:
    size = work.SIZES[r["work"]]
    r.update(where, ceiling_flops_per_second=peaks.get(size.get("dtype", "float32"), 0))
    if r["flop"]:
      r.update(
        ms_per_update=1e3 * r["s"] / size["batches"],
        flop_per_update=r["flop"] / size["batches"],
        mfu=r["flop"] / r["s"] / r["ceiling_flops_per_second"],
      )
    print(json.dumps(r))
  print(
    f"\n{where}; ceiling {', '.join(f'{dtype} {peak / 1e9:,.0f} GFLOP/s' for dtype, peak in peaks.items())}\n"
  )
  print(
    "| work | ms per update | GFLOP per update | MFU | target tokens/s | peak memory of the host, MB |\n|---|---|---|---|---|---|"
  )
  for r in records:
    update = (
      f"{r['ms_per_update']:,.1f} | {r['flop_per_update'] / 1e9:,.0f} | {100 * r['mfu']:.0f}%"
      if r["flop"]
      else "- | - | -"
    )
    print(f"| {r['work']} | {update} | {r['tokens_per_second']:,.0f} | {r['rss_mb']:,} |")


if __name__ == "__main__":
  main()
