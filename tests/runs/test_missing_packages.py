"""Training and decoding without optional packages, and WMT14 without TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from tiny_run import flags

ROOT = pathlib.Path(__file__).parents[2]
WORDS = "a b c d e f g h i j".split()
PAIRS = [(f"the {x} {y}", f"das {y} {x}") for x in WORDS for y in WORDS]

_HIDING = """
import sys
import mock_wmt14
mock_wmt14.hide(*{packages})
from transformer_jax.cli.main import run
for arguments in {commands}:
  code = run(arguments)
  assert code == 0, (code, arguments)
assert not [name for name in {packages} if name in sys.modules]
"""

_PREPARE = """
import pathlib, sys
import mock_wmt14
mock_wmt14.hide("tensorflow")
mock_wmt14.prepare_wmt14(pathlib.Path(sys.argv[1]), *{pairs})
"""


def run_python(code, *arguments, **environment):
  path = f"{ROOT}:{ROOT / 'tests/data/sources'}"
  return subprocess.run(
    [sys.executable, "-c", code, *arguments],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "PYTHONPATH": path, **environment},
  )


@pytest.mark.slow
def test_train_evaluate_translate_without_them(tmp_path):
  (tmp_path / "in").write_text("forty two\n")
  workdir = f"--workdir={tmp_path}/run"
  commands = [
    ["train", workdir, *flags(train_steps=4, evaluate_every=4)],
    ["evaluate", workdir, "--split=valid"],
    ["translate", workdir, f"--input={tmp_path}/in", f"--output={tmp_path}/out"],
    ["digest", workdir],
  ]
  run = run_python(
    _HIDING.format(
      packages=["tensorflow", "tensorflow_datasets", "datasets", "sacremoses"], commands=commands
    )
  )
  assert run.returncode == 0, run.stderr[-3000:]
  evaluation = json.loads(next((tmp_path / "run/evaluations").glob("*.json")).read_text())
  assert "the package sacremoses is not installed" in evaluation["paper_bleu"]["error"]
  assert (tmp_path / "out").read_text().count("\n") == 1


@pytest.mark.interop
def test_a_folder_of_json_lines(tmp_path):
  """Prepare, train and evaluate on it; resume from Parquet of the same text elsewhere."""
  datasets = pytest.importorskip("datasets", reason="needs the package datasets")
  for split, pairs in dict(train=PAIRS, validation=PAIRS[:10], test=PAIRS[10:30]).items():
    rows = [dict(en=en, de=de) for en, de in pairs]
    for folder in ("lines", "parquet"):
      (tmp_path / folder).mkdir(exist_ok=True)
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / f"lines/{split}.jsonl").write_text(text)
    datasets.Dataset.from_list(rows).to_parquet(f"{tmp_path}/parquet/{split}.parquet")
  settings = dict(data_source="huggingface", vocab_size=40, dataset="lines")
  data = [f"--data_root={tmp_path}", *flags(**settings, train_steps=20, evaluate_every=20)]
  workdir = f"--workdir={tmp_path}/run"
  commands = [
    ["prepare", *data],
    ["train", workdir, *data],
    ["train", workdir, *data, "--dataset=parquet", "--train_steps=30"],
    ["evaluate", workdir, f"--data_root={tmp_path}"],
  ]
  code = _HIDING.format(packages=["tensorflow", "tensorflow_datasets"], commands=commands)
  run = run_python(code, HF_HOME=f"{tmp_path}/home")
  assert run.returncode == 0, run.stderr[-3000:]
  assert "train 100 pairs, valid 10 pairs" in run.stdout
  assert "resumed at step 20" in (tmp_path / "run/log.txt").read_text()
  result = json.loads(run.stdout.splitlines()[-1])
  assert result["sentences"] == 20 and result["steps"] == [30] and result["set"] == "test"


@pytest.mark.slow
def test_wmt14_by_name_without_tensorflow(tmp_path):
  """The real builder prepares array_record files; then prepare, 50 updates, evaluate."""
  pytest.importorskip("tensorflow_datasets")
  made = run_python(_PREPARE.format(pairs=(PAIRS, PAIRS[:10], PAIRS[10:30])), str(tmp_path))
  assert made.returncode == 0, made.stderr[-3000:]
  data = flags(
    data_source="tfds",
    tfds_data_dir=f"{tmp_path}/tfds",
    vocab_size=40,
    train_steps=50,
    evaluate_every=50,
    checkpoint_every=50,
  )
  commands = [
    ["prepare", *data],
    ["train", f"--workdir={tmp_path}/run", *data],
    ["evaluate", f"--workdir={tmp_path}/run"],
  ]
  run = run_python(_HIDING.format(packages=["tensorflow"], commands=commands))
  assert run.returncode == 0, run.stderr[-3000:]
  assert "train 100 pairs, valid 10 pairs" in run.stdout
  result = json.loads(run.stdout.splitlines()[-1])
  assert result["sentences"] == 20 and result["steps"] == [50] and result["set"] == "test"
