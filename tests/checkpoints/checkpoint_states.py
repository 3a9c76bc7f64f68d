"""A small state with every kind of node and leaf that a training state has."""

import collections

import flax.struct
import jax
import ml_dtypes
import numpy as np

Moments = collections.namedtuple("Moments", "count mean")


class State(flax.struct.PyTreeNode):
  step: np.ndarray
  params: dict
  opt_state: tuple
  is_done: np.ndarray


def make_state(step, width=3):
  """Returns a state that differs at each step."""
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
  """Returns what is saved beside the state."""
  return {"data": {"epoch": 1, "batch": step}, "rate": 0.1 + 0.2}


def assert_same(state, expected):
  """Compares structures, dtypes, shapes and bits."""
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  leaves = zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True)
  for leaf, like in leaves:
    assert (leaf.dtype, leaf.shape) == (like.dtype, like.shape)
    assert np.asarray(leaf).tobytes() == np.asarray(like).tobytes()


def save(checkpoints, *steps, **settings):
  """Saves the states of some steps, and waits."""
  for step in steps:
    checkpoints.save(step, make_state(step), meta_of(step), **settings)
  checkpoints.wait()
