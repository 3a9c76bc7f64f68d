"""Times systems on the same work in turn, a round of each, and prints the ratios of our speeds.

    python benchmarks/side_by_side.py --work=T1,T2,D1,D1b1 [--rounds=5] [--peers=torch,marian,...]
        [--peer_python=PYTHON]
    python benchmarks/side_by_side.py --work=T1,D1 --against=REVISION [--least=0.95]
    python benchmarks/side_by_side.py --work=A1,S1 --kernels=blocked,xla,reference --heads=1,8,16

Peers run in PYTHON's environment, if they are installed there (PyTorch, transformers, ctranslate2;
see README.md). `plain_jax` runs in this one. --against compares with another revision of this
project, and ends with exit code 1 if a ratio of medians is below --least. Prints a JSON line for
each system, and a Markdown table; --json also appends the lines to a file.
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
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import work

from transformer_jax.machine import processor
from transformer_jax.workdir.versions import git_revision

HERE = pathlib.Path(__file__).resolve().parent
OURS = "transformer_jax"


class Peer(NamedTuple):
  """Another system."""

  script: str
  kinds: str  # first letters of the works that it can do
  is_elsewhere: bool  # it runs in the peers' environment


PEERS = {
  "torch": Peer("peers/torch_transformer.py", "T", True),
  "marian": Peer("peers/marian.py", "TD", True),
  "ctranslate2": Peer("peers/ctranslate2_search.py", "D", True),
  "sdpa": Peer("peers/torch_attention.py", "AS", True),
  "plain_jax": Peer("peers/plain_jax.py", "T", False),
}


class System(NamedTuple):
  """A system as it is started for a work."""

  label: str
  python: str
  script: pathlib.Path
  variant: str
  path: tuple[pathlib.Path, ...] = ()  # folders of PYTHONPATH, besides this one


class Worker:
  """A process that does a round when told to."""

  label: str
  rounds: list[dict[str, Any]]  # as `work.serve` prints them
  facts: dict[str, Any]  # about the system

  def __init__(self, system: System, name: str) -> None:
    path = os.pathsep.join(map(str, (*system.path, HERE)))
    self.label = system.label
    self.rounds = []
    self._errors = tempfile.TemporaryFile(mode="w+")
    self._process = subprocess.Popen(
      [
        system.python,
        str(system.script),
        f"--work={name}",
        f"--variant={system.variant}",
        "--serve",
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=dict(os.environ, PYTHONPATH=path),
    )
    self.facts = json.loads(self._line().removeprefix("READY "))

  def round(self) -> None:
    """Does one round."""
    print("go", file=self._process.stdin, flush=True)
    self.rounds.append(json.loads(self._line()))

  def end(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()

  def _line(self):
    """Returns the next line that is the worker's: libraries print too."""
    while line := self._process.stdout.readline():
      if line.startswith(("READY ", "{")):
        return line
    self._errors.seek(0)
    raise RuntimeError(f"{self.label} ended: {self._errors.read()[-2000:]}")


def run_in_turn(workers: Sequence[Worker], rounds: int) -> list[dict[str, Any]]:
  """Does rounds of all, every other time backwards; returns dicts for JSON."""
  for number in range(rounds):
    for worker in workers if number % 2 == 0 else reversed(workers):
      worker.round()
  return [
    dict(worker.facts, label=worker.label, **work.summary(worker.rounds)) for worker in workers
  ]


def kind_of(name: str) -> str:
  """Returns T (training), D (search), A (attention) or S (a sub-layer)."""
  if name[0] in "TDAS":
    return name[0]
  return "D" if "out" in work.SIZES[name] else "T"


def our_systems(
  options: argparse.Namespace, kind: str, heads: Sequence[str], stack: contextlib.ExitStack
) -> list[System]:
  """Returns this project with each kernel and head count, then the same of --against."""
  if options.kernels:
    kernels = options.kernels.split(",")
  else:
    kernels = ["blocked" if kind in "AS" else ""]
  variants = [f"{kernel}@{h}" if h else kernel for kernel in kernels for h in heads]
  trees = [(OURS, HERE.parent)]
  if options.against:
    trees.append((options.against, stack.enter_context(worktree(options.against))))
  return [
    System(
      label=f"{name} {variant}".strip(),
      python=sys.executable,
      script=tree / "benchmarks" / "worker.py",
      variant=variant,
      path=(tree,),
    )
    for name, tree in trees
    for variant in variants
  ]


def peer_systems(options: argparse.Namespace, kind: str, heads: Sequence[str]) -> list[System]:
  """Returns the requested peers that can do this kind of work."""
  systems = []
  for name in filter(None, options.peers.split(",")):
    peer = PEERS[name]
    if kind not in peer.kinds:
      continue
    python = options.peer_python if peer.is_elsewhere else sys.executable
    for h in heads:
      variant = f"@{h}" if h else ""
      systems.append(System(f"{name} {variant}".strip(), python, HERE / peer.script, variant))
  return systems


def workers_for(
  name: str, options: argparse.Namespace, stack: contextlib.ExitStack
) -> list[Worker]:
  """Starts all systems for this work. A peer that cannot start is reported and left out."""
  kind = kind_of(name)
  heads = options.heads.split(",") if kind in "AS" else [""]
  workers = []
  for system in our_systems(options, kind, heads, stack):
    worker = Worker(system, name)
    stack.callback(worker.end)
    workers.append(worker)
  for system in peer_systems(options, kind, heads):
    try:
      worker = Worker(system, name)
    except (RuntimeError, OSError) as error:
      print(f"{system.label} left out: {error}", file=sys.stderr)
    else:
      stack.callback(worker.end)
      workers.append(worker)
  return workers


@contextlib.contextmanager
def worktree(revision: str) -> Iterator[pathlib.Path]:
  """Yields a temporary folder with another revision of this repository."""
  with tempfile.TemporaryDirectory() as folder:
    tree = pathlib.Path(folder) / "revision"
    git = ["git", "-C", str(HERE.parent), "worktree"]
    subprocess.run([*git, "add", "--detach", str(tree), revision], check=True, capture_output=True)
    try:
      yield tree
    finally:
      subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def where() -> dict[str, Any]:
  """Returns the machine and the revision. It starts no jax, which would run beside the workers."""
  return dict(
    processor=processor(),
    cores=os.cpu_count(),
    python=platform.python_version(),
    revision=git_revision(),
  )


def table(records: Sequence[dict[str, Any]]) -> Iterator[str]:
  """Yields lines of Markdown; the last column is our first row's median over this row's."""
  ours = records[0]["tokens_per_second"]
  yield (
    "| work | system | tokens/s | slowest to fastest | s of a round | start to first round, s "
    "| peak memory, MB | ours / this |"
  )
  yield "|---|---|---|---|---|---|---|---|"
  for r in records:
    speed = r["tokens_per_second"]
    yield (
      f"| {r['work']} | {r['label']} ({r['version']}) | {speed:,.0f} "
      f"| {r['slowest']:,.0f} to {r['fastest']:,.0f} | {r['s']:.4f} "
      f"| {r['start_to_first_round_s']:.1f} | {r['rss_mb']:,} | {ours / speed:.2f} |"
    )


def is_any_slower(records: Sequence[dict[str, Any]], least: float) -> bool:
  """Returns whether a row of this revision is below `least` of the same row of the other one."""
  half = len(records) // 2
  for new, old in zip(records[:half], records[half : 2 * half], strict=True):
    if new["tokens_per_second"] < least * old["tokens_per_second"]:
      return True
  return False


def parse_arguments() -> argparse.Namespace:
  """Returns the checked command line."""
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
    unknown = set(filter(None, names.split(","))) - set(known)
    if unknown:
      parser.error(
        f"--{flag}: unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}"
      )
  return options


def main() -> int:
  """Runs what is requested; returns the exit code."""
  options = parse_arguments()
  is_slower = False
  for name in options.work.split(","):
    with contextlib.ExitStack() as stack:
      records = run_in_turn(workers_for(name, options, stack), options.rounds)
    lines = [json.dumps(dict(record, **where())) for record in records]
    print(*lines, "", *table(records), "", sep="\n", flush=True)
    if options.json:
      with open(options.json, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if options.against and is_any_slower(records, options.least):
      is_slower = True
  return int(is_slower)


if __name__ == "__main__":
  sys.exit(main())
