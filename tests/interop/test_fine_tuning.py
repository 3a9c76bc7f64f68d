"""An imported model is trained further by the command: its loss falls; it resumes to the bit."""

import itertools
import json
import os
import signal

import marian_folder as marian
import numpy as np
import pytest

from transformer_jax.cli import main
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.hooks import RunHooks

pytestmark = [pytest.mark.slow, pytest.mark.interop]
pytest.importorskip("safetensors", reason="needs safetensors")

STEPS = 300


def write_text(folder):
  """Writes pairs that can be learned, each word for itself; returns the flags that name them."""
  of_word = dict(zip(marian.SOURCE_WORDS, marian.TARGET_WORDS, strict=False))
  flags = []
  for split, count, seed in (("train", 1000, 11), ("valid", 40, 12)):
    sources = marian.sentences(list(of_word), count, seed)
    targets = [" ".join(of_word[word] for word in text.split()) for text in sources]
    for side, texts in (("source", sources), ("target", targets)):
      path = folder / f"{split}.{side}"
      path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
      flags.append(f"--{split}_{side}={path}")
  return flags


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
  """The workdir of a random Marian model, with biases everywhere."""
  folder = tmp_path_factory.mktemp("marian")
  marian.write_marian(folder / "model")
  assert main.run(["import", f"--from={folder}/model", f"--workdir={folder}/run"]) == 0
  return folder / "run"


@pytest.fixture(scope="module")
def flags(imported, tmp_path_factory):
  """Flags of `train`: everything that fine-tuning may have is on."""
  return [
    f"--init_from={imported}",
    *write_text(tmp_path_factory.mktemp("text")),
    "--data_source=text",
    "--max_length=30",
    "--num_buckets=2",
    "--batch_tokens=512",
    "--accumulation_steps=2",
    "--rematerialize",
    "--warmup_steps=100",
    "--log_every=10",
    "--evaluate_every=150",
    "--checkpoint_every=50",
    "--bleu_sentences=4",
  ]


def train(workdir, flags, steps=STEPS):
  return main.run(["train", f"--workdir={workdir}", *flags, f"--train_steps={steps}"])


def losses(workdir):
  """Returns the training losses, each a mean over ten updates."""
  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  return [line["loss"] for line in lines if line["split"] == "train"]


@pytest.fixture(scope="module")
def tuned(flags, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("tuned") / "run"
  assert train(workdir, flags) == 0
  return workdir


def test_300_updates_lower_the_loss(tuned):
  found = losses(tuned)
  print(f"loss of updates 1 to 10: {found[0]:.3f}; of 291 to 300: {found[-1]:.3f}")
  assert len(found) == STEPS // 10 and np.all(np.isfinite(found))
  assert np.mean(found[-3:]) < 0.7 * found[0]


@pytest.mark.parametrize("stop", [1, 130])
def test_a_run_that_was_stopped_goes_on_to_the_bit(flags, tuned, tmp_path, monkeypatch, stop):
  should_stop = RunHooks.should_stop
  updates = itertools.count()

  def signaled(self):  # called before each update, and after the 150th by the evaluation
    if next(updates) == stop:
      os.kill(os.getpid(), signal.SIGTERM)
    return should_stop(self)

  with monkeypatch.context() as patch:
    patch.setattr(RunHooks, "should_stop", signaled)
    assert train(tmp_path / "run", flags) == 143
  assert f"stopped at step {stop} by signal 15, saved" in (tmp_path / "run/log.txt").read_text()
  assert train(tmp_path / "run", flags) == 0
  assert digest_of(tmp_path / "run") == digest_of(tuned)
  assert losses(tmp_path / "run") == losses(tuned)


def test_in_place_it_is_refused(imported, flags, capsys):
  before = digest_of(imported)
  assert train(imported, flags[1:]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
    f"transformer-jax: --workdir={imported}: holds an imported model, which stays as it is; "
    f"train a copy in another workdir, with --init_from={imported}"
  )
  assert digest_of(imported) == before
