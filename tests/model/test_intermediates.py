"""Tests that the captured vectors are those from which the weights are computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import Config
from transformer_jax.model.intermediates import attention_weights_and_vectors
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference.attention import attention_weights

SOURCE = jnp.array([[5, 6, 7, 9, 1]], jnp.int32)
TARGET = jnp.array([[4, 8, 9, 1]], jnp.int32)


def test_weights_follow_from_queries_and_keys():
  tiny = dict(num_layers=2, d_model=16, d_ff=24, num_heads=2, d_k=5, d_v=3)
  model = Transformer(Config().replace(**tiny).model, 12, 12)
  params = jax.jit(model.init)(jax.random.key(3), SOURCE, TARGET)["params"]
  compute = jax.jit(functools.partial(attention_weights_and_vectors, model))
  weights, vectors = compute(params, SOURCE, TARGET)
  lengths = dict(encoder=(5, 5), decoder=(4, 4), cross=(4, 5))
  assert weights.keys() == vectors.keys() == lengths.keys()
  for attention, (queries, keys) in lengths.items():
    of = vectors[attention]
    assert of["query"].shape == (2, 1, 2, queries, 5)
    assert of["key"].shape == (2, 1, 2, keys, 5)
    assert of["value"].shape == (2, 1, 2, keys, 3)
    allowed = np.tri(queries, dtype=bool) if attention == "decoder" else None
    for layer, head in np.ndindex(2, 2):
      of_head = [np.asarray(of[kind][layer, 0, head], np.float64) for kind in ("query", "key")]
      expected = attention_weights(*of_head, allowed)
      np.testing.assert_allclose(weights[attention][layer, 0, head], expected, atol=1e-6)
