"""Tests that the product with a parameter matrix is lax.dot_general's, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from transformer_jax.attention.matmul import dot_general


@pytest.mark.parametrize(
  "inputs, kernel",
  [
    ((3, 5, 4), (4, 7)),
    ((3, 5, 7), (7, 4)),
    ((2, 3, 5), (5, 2, 6)),
    ((2, 3, 4, 5), (4, 5, 6)),
    ((9,), (9, 2)),
  ],
)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 0.1)])
def test_values_and_gradients(inputs, kernel, dtype, tolerance):
  rng = np.random.default_rng(0)
  x, w = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in (inputs, kernel))
  count = 2 if len(inputs) == 4 else 1  # axes that are summed over
  numbers = ((tuple(range(x.ndim - count, x.ndim)), tuple(range(count))), ((), ()))
  ours, pull = jax.vjp(lambda x, w: dot_general(x, w, numbers), x, w)
  theirs, pull_theirs = jax.vjp(lambda x, w: lax.dot_general(x, w, numbers), x, w)
  gradient = jnp.asarray(rng.standard_normal(ours.shape), dtype)
  actual = ours, *pull(gradient)
  expected = theirs, *pull_theirs(gradient)
  for mine, other in zip(actual, expected, strict=True):
    assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
    np.testing.assert_allclose(
      np.asarray(mine, np.float32), np.asarray(other, np.float32), atol=tolerance
    )
