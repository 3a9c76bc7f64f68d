"""Comparison of pytrees, leaf by leaf, that names the leaf that differs."""

from typing import Any

import jax
import numpy as np


def assert_trees_close(found: Any, expected: Any, rtol: float = 1e-7, atol: float = 0.0) -> None:
  """Asserts that two pytrees have one structure and that their leaves agree within tolerances."""
  for where, one, other in _pairs_of_leaves(found, expected):
    # In float32, since numpy does not know how to print a difference in bfloat16.
    as_float32 = (np.asarray(leaf, np.float32) for leaf in (one, other))
    np.testing.assert_allclose(*as_float32, rtol=rtol, atol=atol, err_msg=where)


def assert_trees_equal(found: Any, expected: Any) -> None:
  """Asserts that two pytrees have one structure and equal leaves; NaN equals NaN."""
  for where, one, other in _pairs_of_leaves(found, expected):
    np.testing.assert_array_equal(one, other, err_msg=where)


def _pairs_of_leaves(found, expected):
  """Yields (path, leaf, other leaf) after a check of structure and dtypes."""
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  leaves_with_paths = jax.tree_util.tree_leaves_with_path(found)
  for (path, one), other in zip(leaves_with_paths, jax.tree.leaves(expected), strict=True):
    where = jax.tree_util.keystr(path)
    assert np.asarray(one).dtype == np.asarray(other).dtype, where
    yield where, one, other
