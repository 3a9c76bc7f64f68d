"""The scripts in benchmarks/ run, on tiny work."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def output_of(script, *flags):
  """Returns what a script prints."""
  done = subprocess.run(
    [sys.executable, ROOT / "benchmarks" / script, *flags],
    check=False,
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def records_of(output):
  """Returns the JSON lines."""
  return [json.loads(line) for line in output.splitlines() if line.startswith('{"')]


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
  flags = (f"--work={work}", "--rounds=2", "--peers=plain_jax", "--heads=1,2")
  records = records_of(output_of("side_by_side.py", *flags))
  assert [record["label"] for record in records] == systems
  assert all(record["rounds"] == 2 and record["slowest"] > 0 for record in records)


def test_the_share_of_the_machine():
  output = output_of("mfu.py", "--work=T-tiny,D-tiny", "--rounds=2")
  training, search = records_of(output)
  assert 0 < training["mfu"] < 1
  assert training["ms_per_update"] > 0
  assert "mfu" not in search
  assert output.splitlines()[-2].startswith("| T-tiny | ")


def test_the_kernels_are_timed_and_one_is_chosen():
  flags = ("--lengths=8,16", "--heads=1,2", "--positions=32", "--rounds=2")
  rows = records_of(output_of("attention_kernels.py", *flags))
  assert [(row["length"], row["num_heads"]) for row in rows] == [(8, 1), (8, 2), (16, 1), (16, 2)]
  for row in rows:
    assert set(row["milliseconds"]) == {"reference", "blocked", "xla"}
    assert row["kernel"] in row["milliseconds"]


def test_the_declared_work_is_the_work_done():
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    import work
  finally:
    sys.path.pop(0)
  for source, target in work.training_batches("T1"):
    assert max(source.size, target.size) <= 2048
    assert source.shape[0] == target.shape[0]
    assert ((target == work.EOS).sum(1) == 1).all()
    assert target.min() == work.PAD
  assert [len(source) for source in work.search_sources("D1b1")] == [28]
  assert len(work.search_sources("D1")) == 32
  batch = [(work.pad([[5, 1]]), work.pad([[6, 7, 1]]))]
  size = work.SIZES["T-tiny"]
  d_squared = 32 * 32
  feed_forward = 2 * 32 * 64
  per_source = 4 * d_squared + feed_forward + 2 * d_squared
  per_target = 6 * d_squared + feed_forward + 32 * size["vocab"]
  by_hand = 6 * (2 * per_source + 3 * per_target) + 12 * 32 * (4 + 9 + 6)
  assert work.training_flops("T-tiny", batch) == by_hand


def test_the_alignment_error(trained):
  records = records_of(output_of("alignment_error.py", f"--workdir={trained}", "--all_heads"))
  used, *others = records
  assert used["heads"] == ["1.1", "1.2"] and used["position"] == "predicts"
  assert [record["choice"] for record in others] == [
    name for name in ("head", "head", "layer", "all") for _ in range(2)
  ]
  assert all(0 <= record["aer"] <= 100 for record in records)
  assert others[4]["aer"] == used["aer"]  # the layer's


def test_bpe_dropout_is_timed(trained):
  (record,) = records_of(output_of("bpe_dropout.py", f"--workdir={trained}", "--rate=0.3"))
  assert record["tokens"] > record["pairs"] > 0
  assert record["source_growth"] > 1 and record["processor_seconds"] > 0
