"""`doctor` reports what would prevent a resume, and leaves the run as it was."""

import hashlib
import json
import shutil

import pytest

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli.main import run as command_line
from transformer_jax.runs.doctor import examine
from transformer_jax.workdir.lock import WorkdirLock


def contents(workdir):
  """Returns path -> SHA-256 and time of change of every file."""
  return {
    path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
    for path in sorted(workdir.rglob("*"))
    if path.is_file()
  }


def examined(workdir):
  """Examines a run, and checks that nothing was changed."""
  before = contents(workdir)
  lines, result, error = examine(workdir)
  assert contents(workdir) == before
  return "\n".join(lines), result, error


def test_a_healthy_run(trained):
  text, result, error = examined(trained)
  assert error is None and result["resume_is_exact"] and result["is_done"] and result["step"] == 40
  assert "the run is done" in text and "to the bit" in text and text.count("whole") == 4


def first_array_file(workdir, step):
  return max(
    (path for path in (workdir / "checkpoints" / str(step)).rglob("*") if path.is_file()),
    key=lambda path: path.stat().st_size,
  )


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def test_a_flipped_bit_in_the_latest_and_in_an_older_checkpoint(run_copy):
  flip(first_array_file(run_copy, 30))
  _, result, error = examined(run_copy)
  assert error is None and result["damaged"] == [30] and result["resume_is_exact"]
  flip(first_array_file(run_copy, 40))
  _, result, error = examined(run_copy)
  assert error.exit_code == 4 and result["damaged"] == [30, 40] and not result["resume_is_exact"]
  assert command_line(["doctor", f"--workdir={run_copy}"]) == 4


@pytest.mark.parametrize(
  "harm, subject, code",
  [
    (lambda run: next((run / "tokenizer").glob("*.model")).unlink(), "tokenizer", 3),
    (lambda run: flip(next((run / "tokenizer").glob("*.model"))), "tokenizer", 3),
    (
      lambda run: (run / "tokenizer" / "tokenizer.json").write_text('{"kind": [], "sha256": {}}'),
      "tokenizer",
      3,
    ),
    (
      lambda run: (run / "tokenizer" / "tokenizer.json").write_text(
        '{"kind": "sentencepiece", "sha256": {}}'
      ),
      "tokenizer",
      3,
    ),
    (lambda run: (run / "tokenizer" / "tokenizer.json").write_text("[" * 100_000), "tokenizer", 3),
    (lambda run: (run / "metrics.jsonl").write_text('{"step": "5"}\n'), "metrics", 6),
    (lambda run: (run / "metrics.jsonl").write_text("{}\n"), "metrics", 6),
  ],
)
def test_other_damage(run_copy, harm, subject, code):
  harm(run_copy)
  text, result, error = examined(run_copy)
  assert (
    error.exit_code == code and f"{subject:12} PROBLEM" in text and not result["resume_is_exact"]
  )


def test_notes_that_are_not_problems(run_copy):
  (run_copy / "checkpoints" / "writing-50").mkdir()
  config = json.loads((run_copy / "config.json").read_text())
  config["versions"]["jax"] = "0.0.1"
  config["settings"]["train_steps"] = 60
  (run_copy / "config.json").write_text(json.dumps(config))
  with open(run_copy / "metrics.jsonl", "a", encoding="utf-8") as file:
    file.write('{"step": 45, "split": "train"}\n')
  (run_copy / "checkpoints" / "damaged-30").mkdir()
  with WorkdirLock(run_copy):
    at_work, _, _ = examined(run_copy)
    lock = (run_copy / "lock").read_text().strip()
  assert f"writing-50: perhaps at work: {lock}" in at_work and f"held: {lock}" in at_work
  assert "left by" not in at_work
  text, result, error = examined(run_copy)
  assert (
    error is None
    and not result["is_done"]
    and not result["resume_is_exact"]
    and result["changed_versions"]["jax"][0] == "0.0.1"
  )
  for part in (
    "writing-50: left by",
    "damaged-30: was damaged and is not used",
    "1 after the latest checkpoint",
    "last bits may differ",
    "from step 40",
  ):
    assert part in text


def test_other_data_and_other_devices(run_copy, monkeypatch):
  monkeypatch.setattr("transformer_jax.runs.doctor.data_fingerprint", lambda *_: "other")
  monkeypatch.setattr("transformer_jax.parallel.num_devices", lambda: 8)
  text, _, error = examined(run_copy)
  assert (
    error.exit_code == 4 and "not what the run began with" in text and "there are 8 here" in text
  )


def test_a_step_that_a_living_run_deletes_is_no_damage(run_copy, monkeypatch):
  read = Checkpoints.read

  def read_late(self, step=None, *args, **settings):
    if step == 20:
      shutil.rmtree(run_copy / "checkpoints" / "20")
    return read(self, step, *args, **settings)

  monkeypatch.setattr(Checkpoints, "read", read_late)
  with WorkdirLock(run_copy):
    lines, result, error = examine(run_copy)
  assert error is None and result["damaged"] == []
  assert "20: was deleted meanwhile" in "\n".join(lines)


@pytest.mark.parametrize("command", ["doctor", "digest", "translate"])
def test_no_run(command, tmp_path, capsys):
  assert command_line([command, f"--workdir={tmp_path}"]) == 6
  assert "there is no run here" in capsys.readouterr().err


def test_digest_of_a_run_that_has_saved_nothing(run_copy, capsys):
  shutil.rmtree(run_copy / "checkpoints")
  assert command_line(["digest", f"--workdir={run_copy}"]) == 4
  assert "there is no checkpoint" in capsys.readouterr().err
