"""Averages the parameters of several steps (Section 6.1)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from transformer_jax.checkpoints.store import Checkpoints


def average_params(
  checkpoints: Checkpoints, like_params: Any, steps: Sequence[int], part: str = "params"
) -> Any:
  """Returns the mean of the parameters of some steps, computed in float64.

  Args:
    checkpoints: where the steps are.
    like_params: pytree of leaves with the shape and dtype of the parameters, and of the result.
    steps: the steps; each must be there.
    part: the key at the top of a state that its parameters are under.

  Raises:
    CheckpointError: a step is missing, damaged, or does not fit.
  """
  if len(steps) == 1:
    return checkpoints.restore_params(like_params, steps[0], part)
  total = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), like_params)
  for step in steps:
    total = jax.tree.map(np.add, total, checkpoints.restore_params(like_params, step, part))

  def mean(leaf: np.ndarray, like: Any) -> np.ndarray:
    return np.asarray(leaf / len(steps)).astype(like.dtype)

  return jax.tree.map(mean, total, like_params)
