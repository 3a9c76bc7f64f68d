"""Dirty lines and trees give an answer each, or an error by file and line; memory stays flat."""

import pathlib
import random
import subprocess
import sys
import threading

import pytest
from patience import PATIENCE

from transformer_jax.data.sources.treebank import read_tree_file
from transformer_jax.data.trees import clean
from transformer_jax.errors import DataError

LINES = 100_000
ODD = [
  "",
  " ",
  "\r",
  "a\rb",
  "\0",
  "\u2028",
  "\u2029",
  "\x85",
  "\x0b\x0c",
  "\ufeff",
  "</s>",
  "<pad> <s> <unk>",
  "\u2581",
  "\u2581\u2581one",
  "שלום עולם",
  "مرحبا",
  "👩‍👩‍👧 🎉",
  "e\u0301" * 40,
  "ａｂｃ",
  "\u202eabc\u202c",
  "(TOP (NN x))",
  "%s %n {0}",
  "'; --",
  "\\n\\0",
  "\ud7ff\ue000",
]
WORDS = ["one", "two", "forty", "hundred", "thousand", "and", "xyzzy", "-"]


def line(rng):
  """Returns a line of bytes without its end: words, odd text, random bytes, or both."""
  kind = rng.random()
  if kind < 0.5:
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, 8))).encode()
  if kind < 0.7:
    return rng.choice(ODD).encode("utf-8")
  if kind < 0.9:
    return rng.randbytes(rng.randrange(1, 30)).replace(b"\n", b"")
  if kind < 0.9999:
    odd = rng.choice(ODD).encode()
    noise = rng.randbytes(4).replace(b"\n", b"")
    word = rng.choice(WORDS).encode()
    return odd + noise + word + rng.choice([b"\r", b""])
  return rng.choice([b"one ", b"\xff", "é".encode(), b"("]) * 300_000  # about a megabyte


def memory_of(process):
  """Returns the bytes of memory that a process uses."""
  for status in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
    if status.startswith("VmRSS:"):
      return 1024 * int(status.split()[1])
  return 0


@pytest.mark.slow
@pytest.mark.skipif(
  not pathlib.Path("/proc/self/status").exists(), reason="reads memory from /proc"
)
def test_a_hundred_thousand_fuzzed_lines(trained, tmp_path):
  """Each line has its answer, in order.

  The first answer comes before the last line is read, and memory is flat after a tenth.
  """
  rng = random.Random(1)
  marks = range(500, LINES, 1000)  # the same sentence, to see the order by
  lines = [b"one hundred" if number in marks else line(rng) for number in range(LINES)]
  command = [
    sys.executable,
    "-m",
    "transformer_jax",
    "translate",
    f"--workdir={trained}",
    "--beam_size=1",
    "--max_extra_length=4",
    "--max_source_length=32",
    "--decode_batch_tokens=8192",
    "--with_scores",
  ]
  with open(tmp_path / "errors", "w+b") as errors:
    process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
    )
    fed = [0]

    def feed():
      for one in lines:
        process.stdin.write(one + b"\n")
        fed[0] += 1
      process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    answers = []
    fed_at_first = None
    memory = {}
    for answer in process.stdout:
      if fed_at_first is None:
        fed_at_first = fed[0]
      answers.append(answer)
      if len(answers) % (LINES // 10) == 0 and len(answers) < LINES:
        memory[len(answers)] = memory_of(process)
    assert process.wait(PATIENCE) == 0
    errors.seek(0)
    said = errors.read()
  assert len(answers) == LINES and all(answer.endswith(b"\n") for answer in answers)
  assert b"Traceback" not in said
  # Whatever the answer to the marks is, its log-probability is theirs only, up to rounding in
  # batches of other shapes.
  scores = [float(answers[number].split(b"\t")[0]) for number in marks]
  assert max(scores) - min(scores) < 1e-3 and max(scores) < 0
  assert fed_at_first < LINES / 10
  first, *rest = memory.values()
  megabytes = [round(size / 2**20) for size in memory.values()]
  print(f"first answer after {fed_at_first} lines; memory {megabytes} MB")
  assert max(rest) < first + 100 * 2**20, memory


PIECES = [
  "(",
  ")",
  "(S ",
  "(NP ",
  "(NN dog)",
  "(-NONE- *T*-1)",
  " word ",
  "(VBZ is)",
  "(TOP ",
  "()",
  "( )",
  "\n",
  "\r\n",
  "\0",
  "\u2028",
  "(NP-SBJ=1 ",
  "((",
  "))",
  "\ufeff",
  "(. .)",
  "(-LRB- -LRB-)",
  "\t",
  "é",
  "(PRT|ADVP (RP up))",
]


@pytest.mark.slow
def test_ten_thousand_fuzzed_trees(tmp_path):
  """Each file is read whole, or refused by file and line."""
  rng = random.Random(3)
  read = refused = 0
  path = tmp_path / "x.mrg"
  good = "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ is) (ADVP (RB here))) (. .)))\n"
  for number in range(10_000):
    if rng.random() < 0.5:
      text = "".join(rng.choices(PIECES, k=rng.randrange(1, 30)))
    else:
      place = rng.randrange(len(good))
      before = good * rng.randrange(3) + good[:place]
      piece = rng.choice(PIECES)
      after = good[place + rng.randrange(3) :] + good
      text = before + piece + after
    content = text.encode()
    if number % 10 == 0:
      content += rng.randbytes(3)
    path.write_bytes(content)
    try:
      for tree in read_tree_file(path):
        cleaned = clean(tree)
        assert cleaned is None or all(leaf.word.strip(" \t\r\n\f\v") for leaf in cleaned.leaves)
      read += 1
    except DataError as error:
      name, _, line_number = error.where.rpartition(":")
      assert name == str(path), (error, content)
      assert 1 <= int(line_number) <= content.count(b"\n") + 1, (error, content)
      refused += 1
  print(f"{read} read, {refused} refused by line")
  assert read > 500 and refused > 500
