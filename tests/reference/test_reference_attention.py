"""Tests of the loops against numbers worked out by hand, and against themselves."""

import numpy as np
import pytest

from transformer_jax.reference import attention


def random(*shape, seed=0):
  return np.random.default_rng((seed, *shape)).normal(size=shape)


def test_attention_by_hand():
  # d_k = 4, so scores are q.k / 2: 0 and ln 3, weights 1/4 and 3/4.
  query_TK = np.array([[2.0, 0, 0, 0]])
  key_SK = np.array([[0.0, 1, 0, 0], [np.log(3), 0, 0, 0]])
  value_SV = np.array([[4.0, 0, 8], [0, 4, 8]])
  np.testing.assert_allclose(attention.attention_weights(query_TK, key_SK), [[0.25, 0.75]])
  np.testing.assert_allclose(attention.attention(query_TK, key_SK, value_SV), [[1, 3, 8]])


def test_masked_key_has_no_weight_and_a_masked_row_is_uniform():
  allowed_TS = np.array([[True, False, True], [False, False, False]])
  weights_TS = attention.attention_weights(random(2, 5), random(3, 5), allowed_TS)
  assert weights_TS[0, 1] == 0
  assert weights_TS[0].sum() == pytest.approx(1)
  np.testing.assert_allclose(weights_TS[1], 1 / 3)


def test_multi_head_is_the_sum_of_heads_through_their_rows_of_w_out():
  w_query_HDK, w_key_HDK = random(3, 6, 2), random(3, 6, 2, seed=1)
  w_value_HDV, w_out_HVD = random(3, 6, 5), random(3, 5, 6)
  x_TD, memory_SD = random(4, 6), random(7, 6)
  expected_TD = np.zeros((4, 6))
  for q, k, v, o in zip(w_query_HDK, w_key_HDK, w_value_HDV, w_out_HVD, strict=True):
    expected_TD += attention.attention(x_TD @ q, memory_SD @ k, memory_SD @ v) @ o
  actual_TD = attention.multi_head_attention(
    x_TD, memory_SD, w_query_HDK, w_key_HDK, w_value_HDV, w_out_HVD
  )
  np.testing.assert_allclose(actual_TD, expected_TD, atol=1e-12)


def test_causal():
  np.testing.assert_array_equal(attention.causal(3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_match_finite_differences(masked):
  query_TK, key_SK, value_SV, gradient_TV = random(3, 2), random(4, 2), random(4, 5), random(3, 5)
  allowed_TS = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool) if masked else None
  gradients = attention.attention_gradients(query_TK, key_SK, value_SV, gradient_TV, allowed_TS)
  arrays = [query_TK, key_SK, value_SV]
  for i, gradient in enumerate(gradients):

    def loss(changed, i=i):
      output_TV = attention.attention(*arrays[:i], changed, *arrays[i + 1 :], allowed_TS)
      return np.sum(output_TV * gradient_TV)

    np.testing.assert_allclose(gradient, attention.finite_differences(loss, arrays[i]), atol=1e-8)
