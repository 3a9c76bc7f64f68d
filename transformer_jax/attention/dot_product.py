"""Scaled dot-product attention (Section 3.2.1), written for ONE head of ONE example and vmapped over both.

This is the reference: every other kernel is tested against it, and it alone returns attention weights.
"""

import math

import jax
import jax.numpy as jnp


def attention_weights(query_TK, key_SK, allowed_TS):
  """softmax(Q K^T / sqrt(d_k)) in float32, [T, S]; every row sums to 1.

  A row of `allowed_TS` that is all False gets uniform weights, not NaN.
  """
  d_k = query_TK.shape[-1]
  scores_TS = jnp.matmul(query_TK, key_SK.T, preferred_element_type=jnp.float32) / math.sqrt(d_k)
  scores_TS = jnp.where(allowed_TS, scores_TS, jnp.finfo(jnp.float32).min)
  return jax.nn.softmax(scores_TS, axis=-1)


def attention(query_TK, key_SK, value_SV, allowed_TS, multiplier_TS=None):
  """One head: the values averaged by their attention weights, [T, V].

  `multiplier_TS` scales the weights after the softmax: dropout's 0 or 1 / (1 - rate).
  """
  weights_TS = attention_weights(query_TK, key_SK, allowed_TS)
  if multiplier_TS is not None:
    weights_TS = weights_TS * multiplier_TS
  return weights_TS.astype(value_SV.dtype) @ value_SV


# Heads share a mask, examples do not. In the model a head's axis stands third ...
_every_head = jax.vmap(attention, in_axes=(1, 1, 1, None, 0), out_axes=1)
_every_example = jax.vmap(_every_head)  # (BTHK, BSHK, BSHV, BTS, BHTS) -> BTHV
_every_weight = jax.vmap(
  jax.vmap(attention_weights, in_axes=(1, 1, None))
)  # (BTHK, BSHK, BTS) -> BHTS

# ... and in the decoding cache second, so that one head's keys lie together in memory.
_every_cached_head = jax.vmap(
  jax.vmap(attention, in_axes=(1, 0, 0, None), out_axes=1)
)  # (BTHK, BHSK, BHSV, BTS) -> BTHV


def reference_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  """Attention of every head of every example, [B, T, H, V]; memory grows as B H T S."""
  return _every_example(
    query_BTHK,
    key_BSHK,
    value_BSHV,
    _dense_BTS(query_BTHK, key_BSHK.shape[1], mask),
    multiplier_BHTS,
  )


def reference_weights(query_BTHK, key_BSHK, mask):
  """The attention weights of every head, float32 [B, H, T, S]."""
  return _every_weight(query_BTHK, key_BSHK, _dense_BTS(query_BTHK, key_BSHK.shape[1], mask))


def cached_attention(query_BTHK, key_BHSK, value_BHSV, mask):
  """`reference_attention` over keys and values that lie head by head, as the decoding cache keeps them."""
  return _every_cached_head(
    query_BTHK, key_BHSK, value_BHSV, _dense_BTS(query_BTHK, key_BHSK.shape[2], mask)
  )


def _dense_BTS(query_BTHK, num_keys, mask):
  batch, num_queries = query_BTHK.shape[:2]
  return jnp.broadcast_to(mask.dense(num_queries, num_keys), (batch, num_queries, num_keys))
