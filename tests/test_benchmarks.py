"""The scripts in benchmarks/ run, on tiny work."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def output_of(script, *flags):
  done = subprocess.run(
    [sys.executable, ROOT / "benchmarks" / script, *flags],
    check=False,
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize(
  "work, systems",
  [
    ("T-tiny", ["transformer_jax", "plain_jax"]),
    ("D-tiny", ["transformer_jax"]),
    ("A-tiny", ["transformer_jax blocked@1", "transformer_jax blocked@2"]),
    ("S-tiny", ["transformer_jax blocked@1", "transformer_jax blocked@2"]),
  ],
)
def test_side_by_side(work, systems):
  records = [
    json.loads(line)
    for line in output_of(
      "side_by_side.py", f"--work={work}", "--rounds=2", "--peers=plain_jax", "--heads=1,2"
    ).splitlines()
    if line.startswith("{")
  ]
  assert [record["label"] for record in records] == systems
  assert all(record["rounds"] == 2 and record["slowest"] > 0 for record in records)


def test_the_share_of_the_machine():
  lines = output_of("mfu.py", "--work=T-tiny,D-tiny", "--rounds=2").splitlines()
  training, search = (json.loads(line) for line in lines if line.startswith('{"'))
  assert 0 < training["mfu"] < 1 and training["ms_per_update"] > 0 and "mfu" not in search
  assert lines[-2].startswith("| T-tiny | ")


def test_the_kernels_are_timed_and_one_is_chosen():
  rows = [
    json.loads(line)
    for line in output_of(
      "attention_kernels.py", "--lengths=8,16", "--heads=1,2", "--positions=32", "--rounds=2"
    ).splitlines()
    if line.startswith('{"')
  ]
  assert [(row["length"], row["num_heads"]) for row in rows] == [(8, 1), (8, 2), (16, 1), (16, 2)]
  assert all(
    row["kernel"] in row["milliseconds"]
    and set(row["milliseconds"]) == {"reference", "blocked", "xla"}
    for row in rows
  )


def test_the_work_is_what_it_says():
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    import work
  finally:
    sys.path.pop(0)
  for source, target in work.training_batches("T1"):
    assert max(source.size, target.size) <= 2048 and source.shape[0] == target.shape[0]
    assert ((target == work.EOS).sum(1) == 1).all() and target.min() == work.PAD
  assert [len(source) for source in work.search_sources("D1b1")] == [28] and len(
    work.search_sources("D1")
  ) == 32
  batch = [(work.pad([[5, 1]]), work.pad([[6, 7, 1]]))]
  size = work.SIZES["T-tiny"]
  parameters = 4 * 32 * 32 + 2 * 32 * 64
  by_hand = 6 * (
    (parameters + 2 * 32 * 32) * 2 + (6 * 32 * 32 + 2 * 32 * 64 + 32 * size["vocab"]) * 3
  ) + 12 * 32 * (4 + 9 + 6)
  assert work.training_flops("T-tiny", batch) == by_hand
