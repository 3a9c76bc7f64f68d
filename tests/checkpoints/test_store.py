"""Checkpoints come back bit for bit, as a whole or only their parameters."""

import jax
import ml_dtypes
import numpy as np
import pytest
from checkpoint_states import assert_same, make_state, meta_of, save

from transformer_jax.checkpoints import Checkpoints, average_params
from transformer_jax.errors import CheckpointError


def test_round_trip_is_exact(opened):
  save(opened(), 7)
  shapes = jax.eval_shape(lambda: make_state(0))
  shapes = shapes.replace(opt_state=make_state(0).opt_state)  # eval_shape has no 64 bits
  state, meta, step = opened(read_only=True).restore(shapes)
  assert_same(state, make_state(7))
  assert (meta, step) == (meta_of(7), 7)


def test_latest_or_the_named_step_is_restored(opened):
  checkpoints = opened()
  assert checkpoints.steps() == []
  assert checkpoints.best_step() is None
  save(checkpoints, 2, 10)
  with pytest.raises(CheckpointError, match=r"no checkpoint has a score .*there: 2, 10\); give"):
    checkpoints.named_step("best")
  assert checkpoints.steps() == [2, 10]
  assert checkpoints.restore(make_state(0))[2] == 10
  assert_same(checkpoints.restore(make_state(0), step=2)[0], make_state(2))


def test_the_end_of_a_block_waits_for_the_save(folder):
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(1, make_state(1), {})
  assert (folder / "1" / "SHA256SUMS").exists()
  with pytest.raises(RuntimeError, match="after shutdown"):
    checkpoints.save(2, make_state(2), {})


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


def test_parameters_are_read_by_themselves(opened):
  save(opened(), 10, 20)
  reader = opened(read_only=True)
  like = jax.eval_shape(lambda: make_state(0).params)
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
