"""A damaged checkpoint is refused by step and file, and never read wrong."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorstore
from checkpoint_states import assert_same, make_state, meta_of, save

from transformer_jax.checkpoints import average_params, checksums
from transformer_jax.errors import CheckpointError


def damages(content):
  """Yields (name, damaged content)."""
  yield "empty", b""
  yield "cut", content[:-1]
  yield "zeroed", bytes(len(content))
  yield "longer", content + b"\0"
  for place in (0, len(content) // 2, len(content) - 1):
    flipped = bytes([content[place] ^ 4])
    yield f"bit flipped at {place}", content[:place] + flipped + content[place + 1 :]


def test_every_damage_to_every_file_is_refused_by_name(folder, opened):
  save(opened(), 20)
  reader = opened(read_only=True)
  tried = 0

  def restore():
    reader.restore(make_state(0))

  def restore_params():
    reader.restore_params(make_state(0).params)

  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    whole = path.read_bytes()
    for damage, content in damages(whole):
      path.write_bytes(content)
      for read in (restore, restore_params):
        with pytest.raises(CheckpointError, match=r"/20/.*; ") as error:
          read()
        assert path.name in str(error.value) or path.name == "SHA256SUMS", (path, damage)
        tried += 1
    path.unlink()
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
      reader.restore(make_state(0))
    path.write_bytes(whole)
  assert tried > 100
  assert_same(reader.restore(make_state(0))[0], make_state(20))


def test_an_additional_file_is_refused(folder, opened):
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
def test_files_that_are_not_listed_are_not_damage(folder, opened, name):
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
  """Otherwise files that the shortened list lacks would be read without being compared."""
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


def test_a_state_without_its_index_is_damage(folder, opened):
  """Every listed file is whole, but there is no state: orbax left it so in a folder "a[b"."""
  save(opened(), 10, 20)
  (folder / "20" / "state" / "manifest.ocdbt").unlink()
  checksums.write_list(folder / "20")
  with pytest.raises(CheckpointError, match="/20/state: holds no state that can be read"):
    opened(read_only=True).read(20)
  assert opened(read_only=True).restore(make_state(0), on_corrupt="previous")[2] == 10


def claim(folder, name, shape):
  """Makes a checkpoint's metadata claim this shape of an array, with checksums that agree."""
  store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/state/"}).result()
  key = f"{name}/.zarray"
  metadata = {**json.loads(store[key]), "shape": shape}
  store[key] = json.dumps(metadata).encode()
  checksums.write_list(folder)


def test_a_file_that_claims_more_memory_than_there_is_is_refused_before_allocation(folder, opened):
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
  """Changes a byte of a step's meta.json."""
  path = folder / str(step) / "meta.json"
  path.write_bytes(path.read_bytes().replace(b'"epoch"', b'"epoxy"'))


def test_previous_is_taken_only_when_asked_for(folder, opened):
  save(opened(), 10, 20, 30)
  damage(folder, 30)
  damage(folder, 20)
  reader = opened(read_only=True)
  with pytest.raises(CheckpointError, match=r"/30/meta\.json.*--on_corrupt=previous"):
    reader.restore(make_state(0))
  state, meta, step = reader.restore(make_state(0), on_corrupt="previous")
  assert_same(state, make_state(10))
  assert (meta, step) == (meta_of(10), 10)
  newest, older = reader.passed_over
  assert "/30/" in str(newest) and "/20/" in str(older)
  assert reader.steps() == [10, 20, 30]


def test_a_writer_that_goes_back_does_the_damaged_steps_again(folder, opened):
  save(opened(), 10, 20)
  damage(folder, 20)
  writer = opened()
  assert writer.restore(make_state(0), on_corrupt="previous")[2] == 10
  save(writer, 20)
  assert_same(opened(read_only=True).restore(make_state(0))[0], make_state(20))


def test_skipped_damaged_steps_are_put_aside_and_not_deleted(folder, opened):
  """A lost list, or a file that cannot be read today, is no reason to delete arrays."""
  for name in ("damaged-20", "damaged-20-2"):
    save(opened(), 10, 20)
    before = (folder / "20" / "SHA256SUMS").read_bytes()
    (folder / "20" / "SHA256SUMS").unlink()
    assert opened().restore(make_state(0), on_corrupt="previous")[2] == 10
    assert opened().put_aside()[-1] == name
    (folder / name / "SHA256SUMS").write_bytes(before)
    checksums.verify(folder / name)
  assert opened().steps() == [10] and opened().litter() == []


def test_nothing_is_removed_when_all_are_damaged(folder, opened):
  save(opened(), 10, 20)
  damage(folder, 10)
  damage(folder, 20)
  with pytest.raises(CheckpointError, match=r"/20/meta\.json.*start anew"):
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
  for on_corrupt in ("refuse", "previous"):  # another model is not damage
    with pytest.raises(CheckpointError, match=f"/20: {message}"):
      opened().restore(make_state(0).replace(**change), on_corrupt=on_corrupt)
  assert opened().steps() == [10, 20]


def test_a_step_deleted_while_it_is_read_is_named(folder, opened, monkeypatch):
  save(opened(), 1)
  reader = opened(read_only=True)

  def delete_and_read(*_):
    shutil.rmtree(folder / "1")
    os.stat(folder / "1")

  monkeypatch.setattr("transformer_jax.checkpoints.reading.read_arrays", delete_and_read)
  with pytest.raises(CheckpointError, match="deleted while it was read"):
    reader.restore_params(make_state(0).params)
