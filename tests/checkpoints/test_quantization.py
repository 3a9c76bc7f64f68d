"""Matrices in 8 and 16 bits: how close they are, and that doing it twice changes nothing."""

import numpy as np
import pytest

from transformer_jax.checkpoints.quantization import as_matrix, rounded, to_int8


def parameters():
  rng = np.random.default_rng(3)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  return {
    "embedding": draw(50, 16) * rng.lognormal(sigma=3, size=(50, 1)).astype(np.float32),
    "a.query.kernel": draw(16, 3, 5),
    "a.out.kernel": draw(3, 5, 16),
    "zeros.kernel": np.zeros((4, 6), np.float32),
    "norm.scale": draw(16),
  }


def test_each_number_is_within_half_a_level_of_its_row():
  for name, array in parameters().items():
    if array.ndim == 1:
      continue
    matrix = as_matrix(name, array)
    found = to_int8(matrix)
    assert found.values.dtype == np.int8
    assert np.all(np.abs(found.to_float() - matrix) <= found.scales[:, None] * 0.5001)
    largest = np.abs(found.values.astype(int)).max(axis=1)
    assert np.all((largest == 127) | (np.abs(matrix).max(axis=1) == 0))


@pytest.mark.parametrize("quantization", ["int8", "float16"])
def test_what_is_rounded_stays_when_it_is_rounded_again(quantization):
  before = parameters()
  once = rounded(before, quantization)
  twice = rounded(once, quantization)
  for name, array in once.items():
    np.testing.assert_array_equal(array, twice[name], err_msg=name)
  np.testing.assert_array_equal(once["norm.scale"], before["norm.scale"])
  assert np.any(once["a.query.kernel"] != before["a.query.kernel"])


def test_rows_are_inputs():
  assert as_matrix("a.query.kernel", parameters()["a.query.kernel"]).shape == (16, 15)
  assert as_matrix("a.out.kernel", parameters()["a.out.kernel"]).shape == (15, 16)
