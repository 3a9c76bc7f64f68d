"""Times `transformer-jax translate` over a long file, tenth by tenth, and watches its memory.

    python benchmarks/long_input.py --workdir=RUN --source=FILE [--lines=100000] [--beam_size=4]

Prints one JSON line: for each tenth of the lines the processor seconds that it took, of all
threads, and the resident memory in MB at its end (of the last one: the peak). The first tenth
begins with the start of the command, compilation included.
"""

import argparse
import gzip
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading

from side_by_side import HERE, where


def read(path: str, count: int) -> list[str]:
  """Returns `count` lines of a file; it begins anew where it is shorter."""
  opener = gzip.open if path.endswith(".gz") else open
  with opener(path, "rt", encoding="utf-8") as file:
    lines = file.read().splitlines()
  return [lines[number % len(lines)] for number in range(count)]


def used(process: int) -> tuple[float, int]:
  """Returns processor seconds and resident MB of a process, from /proc."""
  fields = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1]
  user, system = fields.split()[11:13]
  status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
  seconds = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
  return seconds, int(status.split("VmRSS:")[1].split()[0]) // 1024


def main() -> None:
  """Prints what is measured."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--source", required=True)
  parser.add_argument("--lines", type=int, default=100_000)
  parser.add_argument("--beam_size", type=int, default=4)
  options = parser.parse_args()
  lines = read(options.source, options.lines)
  path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
  command = ["translate", f"--workdir={options.workdir}", f"--beam_size={options.beam_size}"]
  process = subprocess.Popen(
    [sys.executable, "-m", "transformer_jax", *command],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    encoding="utf-8",
    env=dict(os.environ, PYTHONPATH=path),
  )
  stdin, stdout = process.stdin, process.stdout
  assert stdin is not None and stdout is not None  # they are pipes

  def write() -> None:
    stdin.write("\n".join(lines) + "\n")
    stdin.close()

  threading.Thread(target=write).start()
  tenth = max(1, options.lines // 10)
  marks = [(0.0, 0)]
  for number, _ in enumerate(stdout, start=1):
    if number % tenth == 0 and number < options.lines:
      marks.append(used(process.pid))
  assert process.wait() == 0
  children = resource.getrusage(resource.RUSAGE_CHILDREN)
  marks.append((children.ru_utime + children.ru_stime, children.ru_maxrss // 1024))
  record = dict(
    lines=options.lines,
    beam_size=options.beam_size,
    cpu_s=[round(after - before, 1) for (before, _), (after, _) in itertools.pairwise(marks)],
    rss_mb=[resident for _, resident in marks[1:]],
  )
  print(json.dumps(dict(record, **where())))


main()
