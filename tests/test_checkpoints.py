"""Checkpoints come back bit for bit, or are refused by name; a kill loses nothing."""

import collections
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import textwrap

import flax.struct
import jax
import ml_dtypes
import numpy as np
import pytest
import tensorstore

import transformer_jax
from transformer_jax.checkpoints import Checkpoints, arrays, average_params, checksums
from transformer_jax.errors import CheckpointError, WorkdirError

Moments = collections.namedtuple("Moments", "count mean")


class State(flax.struct.PyTreeNode):
  """The kinds of nodes and leaves that a training state has."""

  step: np.ndarray
  params: dict
  opt_state: tuple
  is_done: np.ndarray


def make_state(step, width=3):
  params = {
    "encoder": {
      "kernel": np.arange(2 * width, dtype=np.float32).reshape(2, width) / 3 + step,
      "bias": (np.arange(width) / 7 + step).astype(ml_dtypes.bfloat16),
    },
    "scale": np.float32(step),
  }
  return State(
    np.int32(step),
    params,
    ((), Moments(np.int64(step), {"kernel": np.full(width, np.pi * step)})),
    np.array(True),
  )


def meta_of(step):
  return {"data": {"epoch": 1, "batch": step}, "rate": 0.1 + 0.2}


def assert_same(state, expected):
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(expected)):
    assert (leaf.dtype, leaf.shape) == (like.dtype, like.shape)
    assert np.asarray(leaf).tobytes() == np.asarray(like).tobytes()


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "checkpoints"


@pytest.fixture
def opened(folder):
  """Opens `folder`; closes what a test has opened."""
  every = []

  def open_(*args, **settings):
    every.append(Checkpoints(folder, *args, **settings))
    return every[-1]

  yield open_
  for checkpoints in every:
    checkpoints.close()


def save(checkpoints, *steps, **settings):
  for step in steps:
    checkpoints.save(step, make_state(step), meta_of(step), **settings)
  checkpoints.wait()


def test_round_trip_is_exact(opened):
  save(opened(), 7)
  state, meta, step = opened(read_only=True).restore(
    jax.eval_shape(lambda: make_state(0)).replace(opt_state=make_state(0).opt_state)
  )  # eval_shape has no 64 bits
  assert_same(state, make_state(7))
  assert (meta, step) == (meta_of(7), 7)


def test_latest_or_the_named_step_is_restored(opened):
  checkpoints = opened()
  assert checkpoints.steps() == []
  assert checkpoints.best_step() is None
  save(checkpoints, 2, 10)
  assert checkpoints.steps() == [2, 10]
  assert checkpoints.restore(make_state(0))[2] == 10
  assert_same(checkpoints.restore(make_state(0), step=2)[0], make_state(2))


def test_a_reader_needs_no_folder_and_writes_nothing(folder, opened):
  reader = opened(read_only=True)
  assert reader.steps() == []
  reader.save(1, make_state(1), {})
  opened(primary=False).save(1, make_state(1), {})
  assert not folder.exists()
  with pytest.raises(CheckpointError, match="there is no checkpoint"):
    reader.restore(make_state(0))


def test_missing_step_is_named(opened):
  save(opened(), 3, 4)
  with pytest.raises(CheckpointError, match="no checkpoint of step 5; there are 3, 4"):
    opened(read_only=True).restore_params(make_state(0).params, 5)


def test_last_and_best_are_kept(opened):
  checkpoints = opened(2, 1)
  for step, score in [(1, 5.0), (2, 9.0), (3, None), (4, float("nan")), (5, 7.0)]:
    save(checkpoints, step, score=score)
  assert checkpoints.steps() == [2, 4, 5]
  assert (checkpoints.scores(), checkpoints.best_step()) == ({2: 9.0, 5: 7.0}, 2)
  save(checkpoints, 6, score=9.0)
  assert checkpoints.steps() == [2, 5, 6]  # the earliest of equals stays the best


def test_a_score_may_come_after_its_checkpoint(folder, opened):
  checkpoints = opened(1, 1)
  for step, score in [(1, 5.0), (2, 9.0), (3, float("nan")), (4, 7.0)]:
    save(checkpoints, step)
    checkpoints.add_score(step, score, "BLEU")
    checkpoints.wait()
    assert_same(opened(read_only=True).restore(make_state(0))[0], make_state(step))
  assert checkpoints.steps() == [2, 4]
  assert (opened(read_only=True).scores(), checkpoints.best_step()) == ({2: 9.0, 4: 7.0}, 2)
  checkpoints.add_score(77, 1.0, "BLEU")
  assert not (folder / "77").exists()


def test_a_score_counts_once_it_is_listed(folder, opened):
  """A kill before that leaves a checkpoint without a score; afterwards it is guarded as all else."""
  checkpoints = opened()
  save(checkpoints, 1)
  (folder / "1" / "score.json").write_text('{"sco')
  (folder / "1" / ".SHA256SUMS.tmp").write_text("half a li")
  assert checkpoints.scores() == {} and checkpoints.read(1)[2] == 1
  checkpoints.add_score(1, 3.0)
  checkpoints.wait()
  assert checkpoints.scores() == {1: 3.0}
  (folder / "1" / "score.json").write_text('{"of": null, "score": 4.0}')
  with pytest.raises(CheckpointError, match="score.json: has changed"):
    checkpoints.read(1)


def test_only_scores_of_a_kind_are_compared_and_the_best_of_each_kind_stay(opened):
  checkpoints = opened(1, 1)
  for step, score, of in [
    (1, 0.1, "match"),
    (2, 0.5, "match"),
    (3, -9.0, "loss"),
    (4, -2.0, "loss"),
    (5, -3.0, "loss"),
    (6, -4.0, "loss"),
  ]:
    save(checkpoints, step)
    checkpoints.add_score(step, score, {"name": of})
  checkpoints.wait()
  assert checkpoints.steps() == [2, 4, 6]
  assert (checkpoints.scores(), checkpoints.best_step()) == ({4: -2.0, 6: -4.0}, 4)
  save(checkpoints, 7)
  checkpoints.add_score(7, 0.2, {"name": "match"})
  assert (checkpoints.scores(), checkpoints.best_step()) == ({2: 0.5, 7: 0.2}, 2)


def test_no_best_is_kept_unless_asked_for(opened):
  checkpoints = opened(1, 0)
  for step in (1, 2):
    save(checkpoints, step, score=-step)
  assert checkpoints.steps() == [2]


def test_temporary_step_goes_with_the_next_and_displaces_none(opened):
  checkpoints = opened(2, 1)
  save(checkpoints, 1, 2)
  save(checkpoints, 3, score=99, temporary=True)
  assert checkpoints.steps() == [1, 2, 3]
  assert checkpoints.scores() == {}
  save(checkpoints, 4)
  assert checkpoints.steps() == [2, 4]


def test_a_temporary_step_can_be_made_one_that_stays(folder, opened):
  checkpoints = opened(2, 1)
  for step in (1, 3):
    save(checkpoints, step, temporary=step == 3)
  checkpoints.make_regular(1)
  assert not (folder / "1" / "regular").exists()
  checkpoints.make_regular(3)
  checkpoints.make_regular(4)
  checkpoints.add_score(3, 5.0)
  save(checkpoints, 5)
  assert checkpoints.steps() == checkpoints.regular_steps() == [3, 5]
  assert checkpoints.scores() == {3: 5.0}
  checkpoints.read(3)


def test_a_kill_while_a_score_is_replaced_does_no_damage(opened, monkeypatch):
  checkpoints = opened(2, 1)
  save(checkpoints, 1)
  checkpoints.add_score(1, 5.0)
  with monkeypatch.context() as patch:
    patch.setattr(checksums, "add_to_list", lambda path, name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      checkpoints.add_score(1, 6.0)
  checkpoints.read(1)
  assert checkpoints.scores() == {}
  checkpoints.add_score(1, 6.0)
  checkpoints.read(1)
  assert checkpoints.scores() == {1: 6.0}


def test_a_step_that_is_there_is_left_alone(folder, opened):
  checkpoints = opened()
  save(checkpoints, 1, score=3.0)
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
  save(checkpoints, 1, temporary=True)
  assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_meta_that_is_no_json_is_refused_at_once(opened):
  with pytest.raises(TypeError):
    opened().save(1, make_state(1), {"array": np.ones(2)})


def damages(content):
  yield "empty", b""
  yield "cut", content[:-1]
  yield "zeroed", bytes(len(content))
  yield "longer", content + b"\0"
  for place in (0, len(content) // 2, len(content) - 1):
    yield (
      f"bit flipped at {place}",
      content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :],
    )


def test_every_damage_to_every_file_is_refused_by_name(folder, opened):
  save(opened(), 20)
  reader, tried = opened(read_only=True), 0
  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    whole = path.read_bytes()
    for damage, content in damages(whole):
      path.write_bytes(content)
      for read in (
        lambda: reader.restore(make_state(0)),
        lambda: reader.restore_params(make_state(0).params),
      ):
        with pytest.raises(CheckpointError, match="/20/.*; ") as error:
          read()
        assert path.name in str(error.value) or path.name == "SHA256SUMS", (path, damage)
        tried += 1
    path.unlink()
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
      reader.restore(make_state(0))
    path.write_bytes(whole)
  assert tried > 100
  assert_same(reader.restore(make_state(0))[0], make_state(20))


def test_a_file_too_many_is_refused(folder, opened):
  save(opened(), 20)
  (folder / "20" / "state" / "d" / "added").write_bytes(b"x")
  with pytest.raises(CheckpointError, match="added: is not in SHA256SUMS"):
    opened(read_only=True).restore(make_state(0))


@pytest.mark.parametrize(
  "name",
  [
    ".DS_Store",
    "state/d/.nfs00000012",
    "Thumbs.db",
    "state/desktop.ini",
    "._meta.json",
    "notes.txt",
    "state/d/._x",
    "@eaDir/x",
    "meta.json~",
    "state/copy of _METADATA",
  ],
)
def test_what_nobody_listed_is_no_damage(folder, opened, name):
  save(opened(), 10, 20)
  path = folder / "20" / name
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(b"x")
  assert opened().restore(make_state(0), on_corrupt="previous")[2] == 20
  assert path.exists()


def test_strays_of_any_kind_are_not_read(folder, opened):
  save(opened(), 20)
  os.mkfifo(folder / "20" / "pipe")
  (folder / "20" / "link").symlink_to("nowhere")
  (folder / "30").write_text("a file named like a step")
  assert opened(read_only=True).restore(make_state(0))[2] == 20


def test_a_list_without_some_lines_is_refused(folder, opened):
  """Else whoever shortens the list would have files read that nobody compares."""
  save(opened(), 20)
  path = folder / "20" / "SHA256SUMS"
  lines = path.read_text().splitlines(keepends=True)
  for number in range(len(lines)):
    path.write_text("".join(lines[:number] + lines[number + 1 :]))
    with pytest.raises(CheckpointError, match="is not in SHA256SUMS, which lists all files"):
      opened(read_only=True).read(20)


def test_a_file_that_appears_during_the_save_is_not_listed(folder, opened, monkeypatch):
  write_list = checksums.write_list

  def with_stray(path):
    (path / ".DS_Store").write_text("x")
    write_list(path)
    (path / ".DS_Store").unlink()

  monkeypatch.setattr(checksums, "write_list", with_stray)
  save(opened(), 20)
  assert opened(read_only=True).restore(make_state(0))[2] == 20


def test_a_renamed_step_is_refused(folder, opened):
  save(opened(), 20)
  (folder / "20").rename(folder / "30")
  with pytest.raises(CheckpointError, match="belongs to step 20, not 30"):
    opened(read_only=True).restore(make_state(0))


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
  folder, params = tmp_path / name / "checkpoints", {"w": np.arange(6.0)}
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
  """Orbax once left out the file that tells where the arrays are, with a warning alone."""
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


def test_a_state_without_its_index_is_damage(folder, opened):
  """Whole by its list, and no state: as orbax left it under a name with a bracket."""
  save(opened(), 10, 20)
  (folder / "20" / "state" / "manifest.ocdbt").unlink()
  checksums.write_list(folder / "20")
  with pytest.raises(CheckpointError, match="/20/state: holds no state that can be read"):
    opened(read_only=True).read(20)
  assert opened(read_only=True).restore(make_state(0), on_corrupt="previous")[2] == 10


def claim(folder, name, shape):
  """Has a checkpoint's metadata say that an array is of this shape, with a list that agrees."""
  store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/state/"}).result()
  key = f"{name}/.zarray"
  metadata = {**json.loads(store[key]), "shape": shape}
  store[key] = json.dumps(metadata).encode()
  checksums.write_list(folder)


def test_a_claim_of_more_memory_than_there_is_is_refused_before_it_is_asked_for(folder, opened):
  save(opened(), 20)
  claim(folder / "20", "params.encoder.kernel", [1_000_000, 1_000_000])
  reader = opened(read_only=True)
  claimed = r"encoder/kernel is float32\[1000000, 1000000\] in the checkpoint, and float32\[2, 3\]"
  with pytest.raises(CheckpointError, match=claimed):
    reader.restore(make_state(0))
  with pytest.raises(CheckpointError, match=claimed):
    reader.restore_params(make_state(0).params)
  with pytest.raises(CheckpointError, match="/20/state: claims 4,000,000,000,"):
    reader.read(20)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_parameters_that_are_not_finite_are_refused_by_name(opened, value, leaf):
  state = make_state(20)
  state.params["encoder"][leaf].flat[1] = value
  checkpoints = opened()
  save(checkpoints, 10)
  checkpoints.save(20, state, meta_of(20))
  checkpoints.wait()
  for load in (
    lambda: checkpoints.restore(make_state(0)),
    lambda: checkpoints.restore_params(make_state(0).params),
    lambda: average_params(checkpoints, make_state(0).params, [10, 20]),
  ):
    with pytest.raises(
      CheckpointError, match=f"/20: params/encoder/{leaf} holds numbers that are not"
    ):
      load()
  assert checkpoints.restore(make_state(0), on_corrupt="previous")[2] == 10


def damage(folder, step):
  path = folder / str(step) / "meta.json"
  path.write_bytes(path.read_bytes().replace(b'"epoch"', b'"epoxy"'))


def test_previous_is_taken_only_when_asked_for(folder, opened):
  save(opened(), 10, 20, 30)
  damage(folder, 30)
  damage(folder, 20)
  reader = opened(read_only=True)
  with pytest.raises(CheckpointError, match="/30/meta.json.*--on_corrupt=previous"):
    reader.restore(make_state(0))
  state, meta, step = reader.restore(make_state(0), on_corrupt="previous")
  assert_same(state, make_state(10))
  assert (meta, step) == (meta_of(10), 10)
  assert ["/30/" in str(reader.passed_over[0]), "/20/" in str(reader.passed_over[1])] == [
    True,
    True,
  ]
  assert reader.steps() == [10, 20, 30]


def test_a_writer_that_goes_back_does_the_damaged_steps_again(folder, opened):
  save(opened(), 10, 20)
  damage(folder, 20)
  writer = opened()
  assert writer.restore(make_state(0), on_corrupt="previous")[2] == 10
  save(writer, 20)
  assert_same(opened(read_only=True).restore(make_state(0))[0], make_state(20))


def test_what_was_gone_back_past_is_put_aside_and_not_deleted(folder, opened):
  """A lost list, or a file that cannot be read today, is no reason to delete whole arrays."""
  for number in range(2):
    save(opened(), 10, 20)
    before = (folder / "20" / "SHA256SUMS").read_bytes()
    (folder / "20" / "SHA256SUMS").unlink()
    assert opened().restore(make_state(0), on_corrupt="previous")[2] == 10
    aside = folder / ("damaged-20", "damaged-20-2")[number]
    assert opened().put_aside()[-1] == aside.name
    (aside / "SHA256SUMS").write_bytes(before)
    checksums.verify(aside)
  assert opened().steps() == [10] and opened().litter() == []


def test_nothing_is_removed_when_all_are_damaged(folder, opened):
  save(opened(), 10, 20)
  damage(folder, 10)
  damage(folder, 20)
  with pytest.raises(CheckpointError, match="/20/meta.json.*start anew"):
    opened().restore(make_state(0), on_corrupt="previous")
  assert opened().steps() == [10, 20]


@pytest.mark.parametrize(
  "change, message",
  [
    (
      dict(params=make_state(0, width=4).params),
      r"params/encoder/bias is bfloat16\[3\] in the checkpoint, and bfloat16\[4\] in this model",
    ),
    (dict(step=np.int64(0)), r"step is int32\[\] in the checkpoint, and int64\[\]"),
    (
      dict(params={**make_state(0).params, "new": np.zeros(1)}),
      r"params/new is missing in the checkpoint, and float64\[1\]",
    ),
    (dict(is_done=()), r"is_done is bool\[\] in the checkpoint, and missing in this model"),
  ],
)
def test_another_model_is_refused_by_leaf(folder, opened, change, message):
  save(opened(), 10, 20)
  for on_corrupt in ("refuse", "previous"):  # another model is no damage
    with pytest.raises(CheckpointError, match=f"/20: {message}"):
      opened().restore(make_state(0).replace(**change), on_corrupt=on_corrupt)
  assert opened().steps() == [10, 20]


def test_parameters_alone(opened):
  save(opened(), 10, 20)
  reader, like = opened(read_only=True), jax.eval_shape(lambda: make_state(0).params)
  assert_same(reader.restore_params(like), make_state(20).params)
  assert_same(reader.restore_params(like, 10), make_state(10).params)
  with pytest.raises(
    CheckpointError,
    match=r"/20: encoder/bias is bfloat16\[3\] in the checkpoint, and bfloat16\[5\]",
  ):
    reader.restore_params(make_state(0, width=5).params)


def test_parameters_of_a_plain_dict(opened):
  checkpoints = opened()
  checkpoints.save(1, {"params": {"w": np.ones(2)}, "other": [np.zeros(1), np.zeros(2)]}, {})
  assert_same(checkpoints.restore_params({"w": np.zeros(2)}), {"w": np.ones(2)})


def test_average_is_computed_in_float64(opened):
  checkpoints = opened()
  like = {
    "w": jax.ShapeDtypeStruct((2,), np.float32),
    "b": jax.ShapeDtypeStruct((), ml_dtypes.bfloat16),
  }
  values = [(1e8, 1.0), (-1e8, 2.0), (1.0, 4.5)]
  for step, (w, b) in enumerate(values):
    params = {"w": np.array([w, w], np.float32), "b": np.array(b, ml_dtypes.bfloat16)}
    checkpoints.save(step, {"params": params}, {})
  checkpoints.wait()
  mean = average_params(checkpoints, like, [0, 1, 2])
  assert_same(mean, {"w": np.full(2, np.float32(1 / 3)), "b": np.array(2.5, ml_dtypes.bfloat16)})
  assert_same(average_params(checkpoints, like, [2]), checkpoints.restore_params(like, 2))
  with pytest.raises(CheckpointError, match="no checkpoint of step 9"):
    average_params(checkpoints, like, [0, 9])


def test_names_and_arrays_without_a_template(opened):
  save(opened(), 5)
  arrays, meta, step = opened(read_only=True).read()
  assert sorted(arrays) == [
    "is_done",
    "opt_state/1/count",
    "opt_state/1/mean/kernel",
    "params/encoder/bias",
    "params/encoder/kernel",
    "params/scale",
    "step",
  ]
  np.testing.assert_array_equal(
    arrays["opt_state/1/mean/kernel"], make_state(5).opt_state[1].mean["kernel"]
  )
  assert (meta, step) == (meta_of(5), 5)


def test_full_disk_shows_at_the_next_call_and_loses_nothing(folder, opened, monkeypatch):
  checkpoints = opened(1, 0)
  save(checkpoints, 1)
  with monkeypatch.context() as patch:
    patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    checkpoints.save(2, make_state(2), {})
    with pytest.raises(
      WorkdirError, match="/2: cannot be written: No space left on device.*free some space"
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


def test_a_step_deleted_while_it_is_read_is_said_so(folder, opened, monkeypatch):
  save(opened(), 1)
  reader = opened(read_only=True)
  monkeypatch.setattr(
    "transformer_jax.checkpoints.reading.read_arrays",
    lambda *_: shutil.rmtree(folder / "1") or os.stat(folder / "1"),
  )
  with pytest.raises(CheckpointError, match="deleted while it was read"):
    reader.restore_params(make_state(0).params)


# Each child is forked before jax has started threads, saves steps without end, and is killed: at a point in `save`
# that is counted out, then at random times. A line of output is a step whose `wait` has returned.
_KILLED = """
  import os, pathlib, random, shutil, signal, sys, time
  import numpy as np
  from transformer_jax.checkpoints import Checkpoints, checksums

  def state(step):
    return {"params": {"w": np.full((100, 100), step, np.float32)}, "step": np.int32(step)}

  def run(kill_at):
    calls = 0
    def counted(function):
      def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == kill_at:
          os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
      return call
    checkpoints = Checkpoints(sys.argv[1], 2, 0)
    start = max(checkpoints.steps(), default=0) + 1
    if kill_at:
      for name in ("mkdir", "write_text", "rename"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
      shutil.rmtree = counted(shutil.rmtree)
      os.fsync = counted(os.fsync)
    for step in range(start, 1000):
      checkpoints.save(step, state(step), {"step": step})
      checkpoints.wait()
      os.write(1, b"saved %d\\n" % step)

  random.seed(5)
  for kill_at in [*range(1, 40, 3), *[0] * 12]:
    child = os.fork()
    if not child:
      run(kill_at)
    if not kill_at:
      time.sleep(random.uniform(0.1, 0.5))
      os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(1, b"killed\\n")
    steps = Checkpoints(sys.argv[1], read_only=True).steps()
    os.write(1, b"latest %d\\n" % max(steps, default=0))
    for name in os.listdir(sys.argv[1]):
      if name.isdecimal():
        checksums.verify(pathlib.Path(sys.argv[1], name))
"""


def python(code, *args):
  """Starts Python on indented code, with the package under test."""
  environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(transformer_jax.__file__).parents[1])}
  return subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  )


def test_killed_at_any_moment_the_last_saved_step_is_there(folder, opened):
  process = python(_KILLED, folder)
  lines = process.communicate(timeout=120)[0].split("\n")
  assert process.returncode == 0
  saved = kills = 0
  for word, number in (line.split() for line in lines if line not in ("", "killed")):
    if word == "saved":
      saved = int(number)
    else:
      assert int(number) in (saved, saved + 1)  # killed between the rename and the report
      saved, kills = int(number), kills + 1
  assert kills == 25 and saved > 3
  state, meta, step = opened(2, 0).restore(
    {"params": {"w": np.zeros((100, 100), np.float32)}, "step": np.int32(0)}
  )
  assert (step, meta) == (saved, {"step": saved})
  np.testing.assert_array_equal(state["params"]["w"], saved)
  assert all(name.isdecimal() for name in os.listdir(folder))


_TWO_PROCESSES = """
  import sys
  import jax, numpy as np
  from jax.experimental import multihost_utils
  jax.distributed.initialize("localhost:" + sys.argv[2], 2, int(sys.argv[3]))
  from transformer_jax.checkpoints import Checkpoints
  checkpoints = Checkpoints(sys.argv[1], 2, 0, primary=jax.process_index() == 0)
  for step in (1, 2, 3):
    checkpoints.save(step, {"params": np.full(3, step)}, {})
  checkpoints.wait()
  multihost_utils.sync_global_devices("saved")
  for _ in range(1 + jax.process_index()):  # each process reads when and as often as it likes
    state, _, step = checkpoints.restore({"params": np.zeros(3, int)})
  print(step, state["params"].sum(), checkpoints.steps())
"""


def test_of_two_processes_one_writes_and_both_read(folder, free_port):
  both = [python(_TWO_PROCESSES, folder, free_port, number) for number in (0, 1)]
  for process in both:
    assert process.communicate(timeout=100)[0].strip().endswith("3 9 [2, 3]")


@pytest.fixture
def free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


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
