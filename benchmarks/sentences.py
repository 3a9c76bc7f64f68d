"""Times the translation of real sentences, raw text in and raw text out, against CTranslate2.

    python benchmarks/sentences.py --name=R1 --workdir=RUN --source=FILE --reference=FILE \\
        --peer_python=PYTHON [--lines=500] [--single=50] [--rounds=3] [--threads=1] [--json=FILE]
        [--untimed=1] [--preprocessed]
        [--max_extra_length=0 --lengths=4]

RUN is a trained run of a SentencePiece or subword-nmt tokenizer, which is exported first. PYTHON's
environment has ctranslate2 and that tokenizer's library. Each search is done on all lines at once,
and on the first ones, one at a time. The systems take their rounds in turn, after one that is not
timed. After 17, all shapes of 1,000 lines go in their smaller stages. CTranslate2 gives the same
answers with patience=8 (`same`); by default it stops sooner (`default`). Prints a JSON line for
each: medians of seconds (s) and of processor seconds of all threads (cpu_s), BLEU, and how many
answers equal ours of the same kind of search; then a Markdown table. With --preprocessed, lines are
as Moses left them, and so are the answers.

A model that was hardly trained ends no sentence. With --max_extra_length=0 all answers are as long
as their sources. CTranslate2's limit is one of a call, so it takes lines of one length at a time:
--lengths=4 takes only lines of the four most frequent lengths, of which there are enough.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from side_by_side import HERE, where

import transformer_jax
from transformer_jax.metrics.bleu import corpus_bleu


class Search(NamedTuple):
  """A search of one system."""

  label: str
  system: str  # "ours", or CTranslate2's type of numbers
  request: dict[str, Any]  # as the worker takes it
  compared_with: str  # the label of our search that is to be compared with it


POWER = dict(length_penalty_form="power", length_penalty=0.6)  # CTranslate2 has no other form
OURS = [
  Search("beam 4, exact", "ours", dict(beam_size=4, early_stopping="exact", **POWER), ""),
  Search("beam 4, first", "ours", dict(beam_size=4, early_stopping="first", **POWER), ""),
  Search("greedy", "ours", dict(beam_size=1), ""),
]


def theirs(number_type: str) -> list[Search]:
  """Returns CTranslate2's searches."""
  name = f"CTranslate2 {number_type}"
  return [
    Search(f"{name}, same", number_type, dict(beam_size=4, patience=8), "beam 4, exact"),
    Search(f"{name}, default", number_type, dict(beam_size=4, patience=1), "beam 4, first"),
    Search(f"{name}, greedy", number_type, dict(beam_size=1, patience=1), "greedy"),
  ]


class Worker:
  """A process that answers requests, each a line of JSON."""

  def __init__(self, command: list[str], lines: list[str], threads: int) -> None:
    numbers = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    self._process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=dict(os.environ, PYTHONPATH=path, **numbers),
    )
    self.ask(lines=lines)

  def ask(self, **request: Any) -> dict[str, Any]:
    """Returns the answer to a request."""
    print(json.dumps(request), file=self._process.stdin, flush=True)
    assert self._process.stdout is not None  # it is a pipe
    while line := self._process.stdout.readline():
      if line.startswith("{"):
        return json.loads(line)
    raise RuntimeError("a worker ended; its error is above")

  def end(self) -> None:
    """Ends the process."""
    assert self._process.stdin is not None  # it is a pipe
    self._process.stdin.close()
    self._process.wait()


def read(path: str, count: int) -> list[str]:
  """Returns the first lines of a file."""
  opener = gzip.open if path.endswith(".gz") else open
  with opener(path, "rt", encoding="utf-8") as file:
    return [line.rstrip("\n") for _, line in zip(range(count), file, strict=False)]


def of_frequent_lengths(options: argparse.Namespace, lines: list[str]) -> list[int]:
  """Returns the places of the lines that have one of the most frequent lengths in tokens."""
  encode = transformer_jax.load(options.workdir).task.encode_source
  lengths = [len(encode(line, options.preprocessed)) for line in lines]
  frequent = {length for length, _ in collections.Counter(lengths).most_common(options.lengths)}
  return [place for place, length in enumerate(lengths) if length in frequent]


def parse_arguments() -> argparse.Namespace:
  """Returns the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--name", required=True, help="of the work, such as R1")
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--source", required=True)
  parser.add_argument("--reference", required=True)
  parser.add_argument("--preprocessed", action="store_true", help="the lines are, as by Moses")
  parser.add_argument("--peer_python", default=sys.executable)
  parser.add_argument("--types", default="float32,int8")
  parser.add_argument("--lines", type=int, default=500)
  parser.add_argument("--single", type=int, default=50)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--untimed", type=int, default=1, help="rounds before these")
  parser.add_argument("--threads", type=int, default=1)
  parser.add_argument("--max_extra_length", type=int, help="tokens beyond those of the source")
  parser.add_argument("--lengths", type=int, help="how many lengths in tokens the lines have")
  parser.add_argument("--json", help="a file to which the lines are appended")
  return parser.parse_args()


def measure(
  options: argparse.Namespace,
  workers: dict[str, Worker],
  searches: list[Search],
  references: list[str],
  count: int,
) -> list[dict[str, Any]]:
  """Returns a record of each search; `count` lines are given one at a time, 0 for all at once."""
  rounds: dict[str, list[dict[str, Any]]] = {search.label: [] for search in searches}
  limit = {}
  if options.max_extra_length is not None:
    limit["max_extra_length"] = options.max_extra_length
  for number in range(options.untimed + options.rounds):
    for search in searches if number % 2 == 0 else searches[::-1]:
      result = workers[search.system].ask(single=count, **search.request, **limit)
      rounds[search.label].append(result)
  answers = {label: results[0]["answers"] for label, results in rounds.items()}
  records = []
  for search in searches:
    timed = rounds[search.label][options.untimed :]
    record = dict(
      work=options.name,
      search=search.label,
      sentences=count or len(references),
      at_once=1 if count else len(references),
      threads=options.threads,
      s=statistics.median(result["s"] for result in timed),
      cpu_s=statistics.median(result["cpu_s"] for result in timed),
      first_cpu_s=rounds[search.label][0]["cpu_s"],
      rss_mb=timed[-1]["rss_mb"],
      version=timed[-1]["version"],
      **limit,
    )
    if not count:
      record["bleu"] = corpus_bleu(answers[search.label], references, "13a")["score"]
    if search.compared_with:
      pairs = zip(answers[search.label], answers[search.compared_with], strict=True)
      record["equal"] = sum(their == our for their, our in pairs)
    records.append(record)
  return records


def table(records: list[dict[str, Any]], searches: list[Search]) -> list[str]:
  """Returns lines of Markdown."""
  lines = ["| search | at once | s | processor s | BLEU | equal | ours / this |", "|" + " -- |" * 7]
  ours = {search.label: search.compared_with for search in searches}
  by_kind = {(r["search"], r["at_once"]): r["cpu_s"] for r in records}
  for r in records:
    of_ours = by_kind[ours[r["search"]] or r["search"], r["at_once"]]
    bleu = f"{r['bleu']:.2f}" if "bleu" in r else "-"
    lines.append(
      f"| {r['search']} | {r['at_once']} | {r['s']:.2f} | {r['cpu_s']:.2f} | {bleu} "
      f"| {r.get('equal', '-')} | {of_ours / r['cpu_s']:.2f} |"
    )
  return lines


def main() -> None:
  """Prints what is measured."""
  options = parse_arguments()
  lines = read(options.source, options.lines)
  references = read(options.reference, options.lines)
  if options.lengths:
    places = of_frequent_lengths(options, lines)
    lines, references = ([side[place] for place in places] for side in (lines, references))
  searches = OURS + [search for kind in options.types.split(",") for search in theirs(kind)]
  with tempfile.TemporaryDirectory() as temporary:
    folder = str(pathlib.Path(temporary) / "exported")
    export = ["export", f"--workdir={options.workdir}", f"--output={folder}"]
    command = [sys.executable, "-m", "transformer_jax", *export, "--format=ctranslate2"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    scripts = dict.fromkeys([search.system for search in searches])
    workers = {}
    for system in scripts:
      if system == "ours":
        command = [sys.executable, str(HERE / "sentences_worker.py"), options.workdir]
        command += ["preprocessed"] * options.preprocessed
      else:
        script = str(HERE / "peers" / "ctranslate2_sentences.py")
        command = [options.peer_python, script, folder, system, str(options.threads)]
      workers[system] = Worker(command, lines, options.threads)
    records = []
    for count in (0, options.single):
      records += measure(options, workers, searches, references, count)
    for worker in workers.values():
      worker.end()
  texts = [json.dumps(dict(record, **where())) for record in records]
  print(*texts, "", *table(records, searches), sep="\n")
  if options.json:
    with open(options.json, "a", encoding="utf-8") as file:
      file.write("\n".join(texts) + "\n")


main()
