"""Scaled dot-product attention (Section 3.2.1), written for ONE head of ONE example and vmapped.

This is the reference: every other kernel is tested against it, and only this one returns attention
weights.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

from transformer_jax.attention.masks import Mask


def attention_weights(
  query_TK: Float[Array, "T K"], key_SK: Float[Array, "S K"], allowed_TS: Bool[Array, "T S"]
) -> Float32[Array, "T S"]:
  """Returns softmax(Q K^T / sqrt(d_k)) in float32; every row sums to 1.

  A row of `allowed_TS` that is all False gets uniform weights, not NaN.
  """
  d_k = query_TK.shape[-1]
  scores_TS = jnp.matmul(query_TK, key_SK.T, preferred_element_type=jnp.float32) / math.sqrt(d_k)
  scores_TS = jnp.where(allowed_TS, scores_TS, jnp.finfo(jnp.float32).min)
  return jax.nn.softmax(scores_TS, axis=-1)


def attention(
  query_TK: Float[Array, "T K"],
  key_SK: Float[Array, "S K"],
  value_SV: Float[Array, "S V"],
  allowed_TS: Bool[Array, "T S"],
  multiplier_TS: Float32[Array, "T S"] | None = None,
) -> Float[Array, "T V"]:
  """Returns one head's output: the values, averaged by their attention weights.

  `multiplier_TS` scales the weights after the softmax: dropout's 0 or 1 / (1 - rate).
  """
  weights_TS = attention_weights(query_TK, key_SK, allowed_TS)
  if multiplier_TS is not None:
    weights_TS = weights_TS * multiplier_TS
  return weights_TS.astype(value_SV.dtype) @ value_SV


# Heads share a mask, examples do not. In the model the axis of heads is the third.
_every_head = jax.vmap(attention, in_axes=(1, 1, 1, None, 0), out_axes=1)
_every_example = jax.vmap(_every_head)  # (BTHK, BSHK, BSHV, BTS, BHTS) -> BTHV
_weights_of_every_head = jax.vmap(attention_weights, in_axes=(1, 1, None))
_weights_of_every_example = jax.vmap(_weights_of_every_head)  # (BTHK, BSHK, BTS) -> BHTS


def _cached_attention(
  query_TK: Float[Array, "T K"],
  key_KS: Float[Array, "K S"],
  value_SV: Float[Array, "S V"],
  allowed_TS: Bool[Array, "T S"],
) -> Float[Array, "T V"]:
  return attention(query_TK, key_KS.T, value_SV, allowed_TS)


# In the decoding cache it is the second, so that the keys of a head lie together in memory.
_every_cached_head = jax.vmap(_cached_attention, in_axes=(1, 0, 0, None), out_axes=1)
_every_cached_example = jax.vmap(_every_cached_head)  # (BTHK, BHKS, BHSV, BTS) -> BTHV


def reference_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the output of every head of every example; memory grows as B H T S."""
  allowed_BTS = _dense(mask, query_BTHK, key_BSHK.shape[1])
  return _every_example(query_BTHK, key_BSHK, value_BSHV, allowed_BTS, multiplier_BHTS)


def reference_weights(
  query_BTHK: Float[Array, "B T H K"], key_BSHK: Float[Array, "B S H K"], mask: Mask
) -> Float32[Array, "B H T S"]:
  """Returns the attention weights of every head of every example."""
  allowed_BTS = _dense(mask, query_BTHK, key_BSHK.shape[1])
  return _weights_of_every_example(query_BTHK, key_BSHK, allowed_BTS)


def cached_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BHKS: Float[Array, "B H K S"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
) -> Float[Array, "B T H V"]:
  """Returns `reference_attention` over keys and values in the decoding cache's layout."""
  allowed_BTS = _dense(mask, query_BTHK, key_BHKS.shape[3])
  return _every_cached_example(query_BTHK, key_BHKS, value_BHSV, allowed_BTS)


def _dense(
  mask: Mask, query_BTHK: Float[Array, "B T H K"], num_keys: int
) -> Bool[Array, "B T {num_keys}"]:
  """Returns the dense mask, with a row of its own for each example."""
  batch, num_queries = query_BTHK.shape[:2]
  return jnp.broadcast_to(mask.dense(num_queries, num_keys), (batch, num_queries, num_keys))
