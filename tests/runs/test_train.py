"""Files of a training run, resuming, and settings that are refused."""

import json
import os
import signal

import jax
import numpy as np
import pytest
import tiny_run
from tiny_run import metrics_of, tiny_config

import transformer_jax
from transformer_jax import parallel
from transformer_jax.analysis.cost import study as cost_study
from transformer_jax.analysis.cost.formulas import update_flops
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.errors import (
  CheckpointError,
  ConfigError,
  DataError,
  Interrupted,
  NonFiniteError,
  WorkdirError,
)
from transformer_jax.runs import train as train_module
from transformer_jax.runs.device_errors import naming_batch_tokens
from transformer_jax.runs.digest import digest_of
from transformer_jax.runs.prepare import prepare
from transformer_jax.runs.train import train


def test_a_run_leaves_the_files_of_the_design(trained):
  assert {path.name for path in trained.iterdir()} == {
    "config.json",
    "tokenizer",
    "checkpoints",
    "metrics.jsonl",
    "tensorboard",
    "evaluations",
    "log.txt",
    "lock",
  }
  config = json.loads((trained / "config.json").read_text())
  assert (
    config["settings"] == tiny_config().to_flat()
    and config["versions"]["jax"]
    and "git_revision" in config
  )
  assert Checkpoints(trained / "checkpoints", read_only=True).steps() == [20, 30, 40]
  assert any((trained / "tensorboard").iterdir())


def test_the_log_says_what_is_trained_on_what(trained):
  log = (trained / "log.txt").read_text()
  for part in (
    "data: en -> de, train 400 pairs, valid ",
    "target tokens per update",
    "--accumulation_steps=",
    "paper: 512",
    "total  ",
    "step 40: valid loss",
    "done: step 40",
  ):
    assert part in log


def test_lines_of_metrics(trained):
  lines = metrics_of(trained)
  assert [(line["step"], line["split"]) for line in lines] == [
    (10, "train"),
    (20, "train"),
    (20, "valid"),
    (30, "train"),
    (40, "train"),
    (40, "valid"),
  ]
  for line in lines:
    assert line.keys() >= {"step", "split", "loss", "perplexity", "source_tokens", "target_tokens"}
  first, last = lines[0], lines[-2]
  assert last["loss"] < first["loss"] and last.keys() >= {
    "learning_rate",
    "grad_norm",
    "skipped_updates",
  }
  assert first["learning_rate"] == pytest.approx(32**-0.5 * 10 * 20**-1.5)
  valid = lines[-1]
  assert (
    valid["perplexity"] == pytest.approx(np.exp(valid["loss"])) and 0 <= valid["exact_match"] <= 1
  )


def test_a_run_of_40_is_a_run_of_20_resumed(trained, tmp_path):
  """Dropout is on. Checkpoint and metrics are those of a run without interruption."""
  train(tiny_config(train_steps=20), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(trained, 20)
  train(tiny_config(), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(trained)
  assert metrics_of(tmp_path / "run") == metrics_of(trained)
  assert "resumed at step 20" in (tmp_path / "run/log.txt").read_text()


def test_a_signal_saves_and_the_next_start_goes_on(trained, tmp_path, monkeypatch):
  """It stops between two checkpoints. The state is saved, and removed when the run has ended."""
  asked = 0

  def should_stop(self):
    nonlocal asked
    asked += 1
    if asked == 14:
      os.kill(os.getpid(), signal.SIGTERM)
    return self.number != 0

  with monkeypatch.context() as patch:
    patch.setattr(train_module.StopSignals, "should_stop", should_stop)
    with pytest.raises(Interrupted) as caught:
      train(tiny_config(), tmp_path / "run", ".")
  assert caught.value.exit_code == 143
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps() == [10, 13]
  train(tiny_config(), tmp_path / "run", ".")
  assert digest_of(tmp_path / "run") == digest_of(trained)
  assert metrics_of(tmp_path / "run") == metrics_of(trained)
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps() == [20, 30, 40]


def test_the_checkpoint_of_a_stop_before_the_first_update_is_temporary(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(train_module.StopSignals, "should_stop", lambda self: True)
    with pytest.raises(Interrupted):
      train(tiny_config(train_steps=10), tmp_path / "run", ".")
  with Checkpoints(tmp_path / "run/checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == [0] and not checkpoints.regular_steps()
  train(tiny_config(train_steps=10), tmp_path / "run", ".")
  assert Checkpoints(tmp_path / "run/checkpoints", read_only=True).steps() == [10]


def test_signals_are_left_alone_while_data_is_prepared(tmp_path, monkeypatch):
  """A signal ends the process at once: nothing is lost, and the first update may be hours away."""
  before, seen = signal.getsignal(signal.SIGTERM), []

  def seeing(*_, **__):
    seen.append(signal.getsignal(signal.SIGTERM))
    raise DataError("data", "is not of interest")

  monkeypatch.setattr(train_module, "prepare", seeing)
  with pytest.raises(DataError):
    train(tiny_config(), tmp_path / "run", ".")
  assert seen == [before]


def test_a_finished_run_only_says_so(run_copy):
  before = digest_of(run_copy), metrics_of(run_copy)
  train(tiny_config(), run_copy, ".")
  assert (digest_of(run_copy), metrics_of(run_copy)) == before


@pytest.mark.parametrize(
  "setting",
  [
    dict(d_model=64),
    dict(seed=tiny_run.SEED + 1),
    dict(label_smoothing=0.2),
    dict(numbers_train_size=300),
    dict(vocab_size=60),
    dict(attention_kernel="reference"),
  ],
)
def test_another_setting_is_another_run(run_copy, setting):
  ((name, value),) = setting.items()
  with pytest.raises(ConfigError, match=f"--{name}={value}: the run in .* was started with"):
    train(tiny_config(**setting), run_copy, ".")


@pytest.mark.slow
def test_settings_that_only_report_may_change(run_copy):
  train(tiny_config(train_steps=44, log_every=2, keep_checkpoints=1, beam_size=2), run_copy, ".")
  assert [line["step"] for line in metrics_of(run_copy) if line["split"] == "train"] == [
    10,
    20,
    30,
    40,
    42,
    44,
  ]
  assert Checkpoints(run_copy / "checkpoints", read_only=True).steps() == [44]


def test_changed_text_is_refused(tmp_path):
  text = "".join(f"{a} {b}\n" for a in "abcdefgh" for b in "ijklmnop")
  for name in ("x", "y"):
    (tmp_path / name).write_text(text)
  files = {
    f"{split}_{side}": name
    for split in ("train", "valid")
    for side, name in (("source", "x"), ("target", "y"))
  }
  config = tiny_config(
    data_source="text", tokenizer="segmented", train_steps=2, bleu_sentences=0, **files
  )
  train(config, tmp_path / "run", tmp_path)
  (tmp_path / "y").write_text(text.replace("a i", "a j"))
  with pytest.raises(CheckpointError, match="the training data or the tokenizer has changed"):
    train(config.replace(train_steps=4), tmp_path / "run", tmp_path)
  (tmp_path / "y").write_text("")
  with pytest.raises(DataError, match=r"x:1: has no partner: .*y ends at line 0"):
    train(config, tmp_path / "other", tmp_path)
  assert not (tmp_path / "other/config.json").exists()


def test_a_changed_tokenizer_is_refused(run_copy):
  with open(run_copy / "tokenizer/sentencepiece.model", "ab") as file:
    file.write(b"x")
  with pytest.raises(
    DataError, match=r"sentencepiece.model: has changed since the tokenizer was made"
  ):
    train(tiny_config(), run_copy, ".")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_or_passed_over(trained, run_copy):
  path = max(
    (run_copy / "checkpoints/40/state").rglob("*"),
    key=lambda p: p.stat().st_size if p.is_file() else 0,
  )
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 1
  path.write_bytes(raw)
  before = (run_copy / "config.json").read_text()
  with pytest.raises(CheckpointError, match=r"checkpoints/40/state/.* --on_corrupt=previous"):
    train(tiny_config(checkpoint_every=7), run_copy, ".")
  assert (run_copy / "config.json").read_text() == before
  train(tiny_config(), run_copy, ".", on_corrupt="previous")
  assert (
    "has changed since it was written"
    in (run_copy / "log.txt").read_text().split("went back to step 30")[0]
  )
  assert digest_of(run_copy) == digest_of(trained) and metrics_of(run_copy) == metrics_of(trained)


def test_another_number_of_devices_is_refused_unless_allowed(run_copy, monkeypatch):
  monkeypatch.setattr(train_module.parallel, "num_devices", lambda: 2)
  with pytest.raises(
    CheckpointError,
    match=r"was trained on 1 devices, but there are 2 here; .*--allow_device_change",
  ):
    train(tiny_config(), run_copy, ".")


def test_numbers_that_are_not_finite_end_the_run(tmp_path):
  config = tiny_config(learning_rate_scale=1e30, max_nonfinite_updates=3)
  with pytest.raises(NonFiniteError, match="3 updates in a row") as caught:
    train(config, tmp_path / "run", ".")
  assert caught.value.exit_code == 5
  (batches,) = json.loads(next((tmp_path / "run").glob("nonfinite_after_step_*.json")).read_text())
  assert len(batches["source"]) == len(batches["target"]) > 1


def test_every_step_may_be_reported_when_none_is_finite(tmp_path):
  with pytest.raises(NonFiniteError, match="2 updates in a row"):
    train(
      tiny_config(learning_rate_scale=1e30, max_nonfinite_updates=2, log_every=1),
      tmp_path / "run",
      ".",
    )


@pytest.mark.slow
def test_learned_positions_may_end_where_the_sentences_end(tmp_path):
  """Batches, validation and decoding pad to more positions than the table has rows."""
  longest = max(len(batch) for batch in _longest_pairs())
  config = tiny_config(
    positions="learned",
    max_positions=longest,
    max_length=longest,
    train_steps=4,
    evaluate_every=4,
    checkpoint_every=4,
  )
  train(config, tmp_path / "run", ".")
  model = transformer_jax.load(tmp_path / "run")
  assert len(model.translate(["nine hundred ninety nine " * 9])) == 1  # cut to the table's length
  with pytest.raises(
    DataError,
    match=f"target 2: has .* tokens, but the model's table has only --max_positions={longest}",
  ):
    list(model.log_probs([("one", "eins"), ("two", "zweihundert" * 20)]))


def _longest_pairs():
  prepared = prepare(tiny_config(), ".")
  for split in ("train", "valid"):
    encoded = prepared.encoded[split]
    for i in range(len(encoded)):
      yield from (encoded.source(i), encoded.target(i))


def test_one_process_trains_in_a_workdir(run_copy):
  with train_module.WorkdirLock(run_copy), pytest.raises(WorkdirError, match="is training here"):
    train(tiny_config(), run_copy, ".")


@pytest.mark.parametrize("accumulation_steps", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_that_cannot_fit_are_refused_before_the_first_update(
  accumulation_steps, tmp_path, monkeypatch
):
  config = tiny_config(accumulation_steps=accumulation_steps)
  monkeypatch.setattr(train_module.parallel, "free_memory", lambda: 100_000)
  with pytest.raises(
    ConfigError,
    match=r"--batch_tokens=512: a batch of 32 x \(16 \+ 16\) positions needs 0\.\d GB .*"
    "--accumulation_steps",
  ):
    train(config, tmp_path / "w", ".")
  assert not (tmp_path / "w" / "metrics.jsonl").exists()
  free = parallel.free_memory
  monkeypatch.undo()
  assert free() == 100_000 and 1e6 < parallel.free_memory() < 1e15
  train(config.replace(train_steps=2), tmp_path / "w", ".")


def test_too_small_a_memory_names_the_flag():
  with (
    pytest.raises(ConfigError, match="--batch_tokens=7: a device does not have enough memory"),
    naming_batch_tokens(7),
  ):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes")


def test_the_cost_of_a_run_is_counted_from_its_metrics(trained):
  budget = cost_study.run_budget(trained, 8, 1e9)
  lines = [line for line in metrics_of(trained) if line["split"] == "train"]
  vocab_size = json.loads(
    (trained / "log.txt").read_text().partition("vocabulary ")[2].split("\n")[0]
  )
  tokens = [sum(line[f"{side}_tokens"] for line in lines) for side in ("source", "target")]
  assert budget["model_flops"] == update_flops(tiny_config().model, vocab_size, *tokens, 8, 8)
  seconds = sum(
    10 / json.loads(line)["updates_per_second"]
    for line in (trained / "metrics.jsonl").read_text().splitlines()
    if '"train"' in line
  )
  assert budget["hardware_flops"] == pytest.approx(1e9 * seconds)
