"""A save is whole or absent, whatever the folder's name and whatever fails."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from checkpoint_states import assert_same, make_state, meta_of, save

from transformer_jax.checkpoints import Checkpoints, arrays
from transformer_jax.errors import WorkdirError


def test_an_existing_step_is_left_as_it_is(folder, opened):
  checkpoints = opened()
  save(checkpoints, 1, score=3.0)
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
  save(checkpoints, 1, temporary=True)
  assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_meta_that_is_no_json_is_refused_at_once(opened):
  with pytest.raises(TypeError):
    opened().save(1, make_state(1), {"array": np.ones(2)})


ODD_NAMES = [
  "lr[0.1]",
  "[",
  "]",
  "a\\b",
  "\\",
  "a**b",
  "*",
  "?",
  "**",
  "gs:",
  "s3:",
  "{a,b}",
  "a\nb",
  " ",
  "e\u0301",
  "\U0001f600",
  "\u202eabc",
  "\udcff",
  "%2F",
  "#",
  "~",
  "-x",
  "lr=0.1",
  "x" * 255,
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_folder_of_any_name_can_be_written_and_read(tmp_path, name):
  folder = tmp_path / name / "checkpoints"
  params = {"w": np.arange(6.0)}
  checkpoints = Checkpoints(folder)
  checkpoints.save(1, {"params": params}, {})
  checkpoints.close()
  assert (folder / "1" / "state" / "manifest.ocdbt").exists()
  assert_same(Checkpoints(folder, read_only=True).restore_params(params), params)
  plain = tmp_path / "plain"
  (tmp_path / name).rename(plain)
  assert_same(Checkpoints(plain / "checkpoints", read_only=True).restore_params(params), params)


def test_an_odd_name_is_refused_at_once_where_no_plain_one_can_be_given(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "[tmp]"))
  with pytest.raises(
    WorkdirError, match="cannot be written under; use another --workdir, or another"
  ):
    Checkpoints(tmp_path / "lr[0.1]")
  Checkpoints(tmp_path / "plain")


def test_a_save_that_cannot_be_read_back_does_not_count(folder, opened, monkeypatch):
  """Orbax once left out the file that says where the arrays are, with only a warning."""
  save(opened(), 1)
  save_as_it_is = arrays.ocp.Checkpointer.save

  def save_and_lose(self, path, args):
    save_as_it_is(self, path, args=args)
    (path / "manifest.ocdbt").unlink()

  monkeypatch.setattr(arrays.ocp.Checkpointer, "save", save_and_lose)
  checkpoints = Checkpoints(folder)
  checkpoints.save(2, make_state(2), {})
  with pytest.raises(WorkdirError, match="writing-2: cannot be read back after it was written"):
    checkpoints.wait()
  assert checkpoints.steps() == [1]


def test_full_disk_shows_at_the_next_call_and_loses_nothing(folder, opened, monkeypatch):
  checkpoints = opened(1, 0)
  save(checkpoints, 1)
  with monkeypatch.context() as patch:
    patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    checkpoints.save(2, make_state(2), {})
    with pytest.raises(
      WorkdirError, match=r"/2: cannot be written: No space left on device.*free some space"
    ):
      checkpoints.save(3, make_state(3), {})
  assert os.listdir(folder) == ["1"]
  save(checkpoints, 4)
  assert checkpoints.steps() == [4]


@pytest.mark.parametrize(
  "error, expected",
  [
    (
      ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device [os_error_code='28']"),
      WorkdirError,
    ),
    (OSError(5, "Input/output error"), WorkdirError),
    (ValueError("a bug"), ValueError),
  ],
)
def test_failures_of_orbax_show_as_what_they_are(folder, opened, monkeypatch, error, expected):

  def fail(*_, **__):
    raise error

  checkpoints = opened()
  save(checkpoints, 1)
  monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", fail)
  checkpoints.save(2, make_state(2), {})
  with pytest.raises(expected):
    checkpoints.wait()
  assert os.listdir(folder) == ["1"]


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(WorkdirError, match="cannot be written"):
    Checkpoints(tmp_path / "file" / "checkpoints")


def test_opening_for_writing_removes_litter_and_nothing_else(folder, opened):
  save(opened(), 1)
  mine = ["deleting-me", "mine", "writing-2-copy", "writing-thesis.txt"]
  for name in ("writing-2", "deleting-0", *mine[:3]):
    shutil.copytree(folder / "1", folder / name)
  (folder / "writing-thesis.txt").write_text("x")
  opened(read_only=True)
  assert len(os.listdir(folder)) == 7
  assert opened().steps() == [1]
  assert sorted(os.listdir(folder)) == ["1", *mine]


def test_sums_are_what_sha256sum_reads(folder, opened):
  save(opened(), 1)
  assert json.loads((folder / "1" / "meta.json").read_text())["meta"] == meta_of(1)
  if shutil.which("sha256sum"):
    subprocess.run(
      ["sha256sum", "--check", "--strict", "SHA256SUMS"],
      cwd=folder / "1",
      check=True,
      capture_output=True,
    )
