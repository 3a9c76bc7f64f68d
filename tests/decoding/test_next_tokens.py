"""The best next tokens against a sort of everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens, top_of_rows


@pytest.mark.parametrize("width", [5, 640, 1000, 2048, 2049])
@pytest.mark.parametrize("levels", [3, 40, 10**6])  # few levels: nearly all values are tied
def test_top_of_rows_is_top_k(width, levels):
  rows = np.random.default_rng(width + levels).integers(0, levels, (7, 3, width)).astype(np.float32)
  rows[0, 0] = -np.inf
  rows[1, 1, :-1] = -np.inf
  count = min(5, width)
  values, places = top_of_rows(jnp.asarray(rows), count)
  order = np.argsort(-rows, axis=-1, kind="stable")[..., :count]
  np.testing.assert_array_equal(places, order)
  np.testing.assert_array_equal(values, np.take_along_axis(rows, order, axis=-1))
  assert np.array_equal(jax.lax.top_k(jnp.asarray(rows), count)[1], order)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("vocab", [6, 3000])
def test_log_probs_are_of_the_whole_vocabulary_in_float32(vocab, dtype):
  rng = np.random.default_rng(vocab)
  logits = jnp.asarray(3 * rng.normal(size=(4, 2, vocab)), dtype)
  logits = logits.at[:2, :, PAD_ID].set(20.0).at[1:3, :, EOS_ID].set(15.0)
  least = jnp.array([0, 5, 4, 5])
  log_probs, tokens = best_next_tokens(logits, 4, 3, least)
  expected = np.asarray(logits, np.float64)
  expected -= np.log(np.exp(expected).sum(-1, keepdims=True))
  expected[..., PAD_ID] = -np.inf
  expected[np.asarray(least) == 5, :, EOS_ID] = -np.inf
  order = np.argsort(-expected, axis=-1, kind="stable")[..., :4]
  np.testing.assert_allclose(
    log_probs, np.take_along_axis(expected, order, -1), rtol=1e-5, atol=1e-5
  )
  assert log_probs.dtype == jnp.float32
  best = np.isfinite(log_probs)
  np.testing.assert_array_equal(np.asarray(tokens)[best], order[best])
  best_tokens = np.asarray(tokens)[..., 0]
  assert (best_tokens[:2] != PAD_ID).all()
  assert (best_tokens[2] == EOS_ID).all()


def test_equal_tokens_come_by_id():
  _, tokens = best_next_tokens(jnp.zeros((1, 1, 1000)), 3, 0, jnp.array([2]))
  assert tokens.tolist() == [[[2, 3, 4]]]
