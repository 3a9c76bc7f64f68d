"""Times systems on the same work in turn, a round of each, and prints what ours is to theirs.

    python benchmarks/side_by_side.py --work=T1,T2,D1,D1b1 [--rounds=5] [--peers=torch,marian,...] [--peer_python=PYTHON]
    python benchmarks/side_by_side.py --work=T1,D1 --against=REVISION [--least=0.95]     this revision against another of this project's
    python benchmarks/side_by_side.py --work=A1,S1 --kernels=blocked,xla,reference --heads=1,8,16

Peers run in PYTHON's environment (PyTorch, transformers, ctranslate2, where they are installed; see README.md). `plain_jax` runs in
this one. Prints a JSON line for each system, and a Markdown table; --json also appends the lines to a file. With --against it ends with
exit code 1 where the ratio of medians is below --least.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import work

from transformer_jax.machine import processor
from transformer_jax.workdir.versions import git_revision

HERE = pathlib.Path(__file__).resolve().parent
OURS = "transformer_jax"

# name -> (script, what it can do, whether it runs in the peers' environment)
PEERS = {
  "torch": ("peers/torch_transformer.py", ("T",), True),
  "marian": ("peers/marian.py", ("T", "D"), True),
  "ctranslate2": ("peers/ctranslate2_search.py", ("D",), True),
  "sdpa": ("peers/torch_attention.py", ("A", "S"), True),
  "plain_jax": ("peers/plain_jax.py", ("T",), False),
}


class Worker:
  """A process that does a round when told to."""

  def __init__(self, label, python, script, name, variant, path=()):
    command = [python, str(script), f"--work={name}", f"--variant={variant}", "--serve"]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([*map(str, path), str(HERE)]))
    self.label, self.rounds = label, []
    self._errors = tempfile.TemporaryFile(mode="w+")
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=env,
    )
    self.facts = json.loads(self._line().removeprefix("READY "))

  def round(self):
    """Does one."""
    print("go", file=self._process.stdin, flush=True)
    self.rounds.append(json.loads(self._line()))

  def end(self):
    """Ends the process."""
    self._process.stdin.close()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()

  def _line(self):
    while line := self._process.stdout.readline():
      if line.startswith(("READY ", "{")):  # libraries print too
        return line
    self._errors.seek(0)
    raise RuntimeError(f"{self.label} ended: {self._errors.read()[-2000:]}")


def run_in_turn(workers, rounds):
  """Takes rounds of all, every other time backwards; a list of dicts for JSON."""
  for number in range(rounds):
    for worker in workers if number % 2 == 0 else reversed(workers):
      worker.round()
  return [
    dict(worker.facts, label=worker.label, **work.summary(worker.rounds)) for worker in workers
  ]


def workers_for(name, options, stack):
  """Starts all that do this work; one that cannot start is named and left out."""
  kind = name[0] if name[0] in "TDAS" else ("D" if "out" in work.SIZES[name] else "T")
  heads = options.heads.split(",") if kind in "AS" else [""]
  kernels = options.kernels.split(",") if options.kernels else ["blocked" if kind in "AS" else ""]
  wanted = [
    (f"{OURS} {variant}".strip(), sys.executable, HERE / "worker.py", variant, (HERE.parent,))
    for kernel in kernels
    for h in heads
    for variant in [f"{kernel}@{h}" if h else kernel]
  ]
  if options.against:
    tree = stack.enter_context(worktree(options.against))
    wanted += [
      (
        f"{options.against} {variant}".strip(),
        sys.executable,
        tree / "benchmarks" / "worker.py",
        variant,
        (tree,),
      )
      for *_, variant, _ in list(wanted)
    ]
  for peer in filter(None, options.peers.split(",")):
    script, kinds, is_elsewhere = PEERS[peer]
    if kind in kinds:
      wanted += [
        (
          f"{peer} @{h}" if h else peer,
          options.peer_python if is_elsewhere else sys.executable,
          HERE / script,
          f"@{h}" if h else "",
          (),
        )
        for h in heads
      ]
  started = []
  for label, python, script, variant, path in wanted:
    try:
      started.append(Worker(label, python, script, name, variant, path))
      stack.callback(started[-1].end)
    except (RuntimeError, OSError) as error:
      if script.is_relative_to(HERE / "peers"):
        print(f"{label} left out: {error}", file=sys.stderr)
      else:
        raise
  return started


@contextlib.contextmanager
def worktree(revision):
  """A folder with another revision of this repository."""
  with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder) / "revision"
    git = ["git", "-C", str(HERE.parent), "worktree"]
    subprocess.run([*git, "add", "--detach", str(tree), revision], check=True, capture_output=True)
    try:
      yield tree
    finally:
      subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def where():
  """On what this was measured; jax is not started, so that it does not run beside the workers."""
  return dict(
    processor=processor(),
    cores=os.cpu_count(),
    python=platform.python_version(),
    revision=git_revision(),
  )


def table(records):
  """Lines of Markdown; the last column is our first row's median over this row's."""
  ours = records[0]["tokens_per_second"]
  yield "| work | system | tokens/s | slowest to fastest | s of a round | start to first round, s | peak memory, MB | ours / this |"
  yield "|---|---|---|---|---|---|---|---|"
  for r in records:
    yield (
      f"| {r['work']} | {r['label']} ({r['version']}) | {r['tokens_per_second']:,.0f} | {r['slowest']:,.0f} to {r['fastest']:,.0f} | {r['s']:.4f} | "
      f"{r['start_to_first_round_s']:.1f} | {r['rss_mb']:,} | {ours / r['tokens_per_second']:.2f} |"
    )


def main():
  """Runs what is asked for; the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--work", required=True, help="names of work.SIZES, comma-separated")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--peers", default="", help=",".join(PEERS))
  parser.add_argument("--peer_python", default="python3")
  parser.add_argument(
    "--kernels",
    default="",
    help="kernels of this project's, comma-separated; empty: auto, or blocked for attention alone",
  )
  parser.add_argument("--heads", default="1,8", help="for attention alone and for sub-layers")
  parser.add_argument("--against", default="", help="another revision of this project")
  parser.add_argument("--least", type=float, default=0.95)
  parser.add_argument("--json", help="a file to which the lines are appended")
  options = parser.parse_args()
  for flag, names, known in (("work", options.work, work.SIZES), ("peers", options.peers, PEERS)):
    if unknown := set(filter(None, names.split(","))) - set(known):
      parser.error(
        f"--{flag}: {', '.join(sorted(unknown))} not known; choose from {', '.join(known)}"
      )
  is_slower = False
  for name in options.work.split(","):
    with contextlib.ExitStack() as stack:
      records = run_in_turn(workers_for(name, options, stack), options.rounds)
    lines = [json.dumps(dict(record, **where())) for record in records]
    print(*lines, "", *table(records), "", sep="\n", flush=True)
    if options.json:
      with open(options.json, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if options.against:
      half = len(records) // 2
      is_slower |= any(
        new["tokens_per_second"] < options.least * old["tokens_per_second"]
        for new, old in zip(records[:half], records[half : 2 * half], strict=True)
      )
  return int(is_slower)


if __name__ == "__main__":
  sys.exit(main())
