"""Attention whose cost grows little with the number of heads on a CPU, and whose memory grows with T, not T^2.

Two things slow the plain forms down as heads are added at the same h d_k. Keys that lie [B, S, H, K] make each head's matrix
products thin and strided, so here a head's rows lie together, and thin products are computed the fast way round. And the weights,
h T S numbers an example, are kept for the backward pass: here only where they are few; else they are computed again, a block at
a time. The backward pass is that of FlashAttention (Dao et al. 2022, Section 3.1 and Appendix B).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from transformer_jax.attention.matmul import sum_of_outer_products

_BLOCK = (
  1 << 23
)  # scores computed at once, 32 MB. Blocks that fit a cache were not faster: cutting and joining them costs as much
_FEWEST_QUERIES = 64  # of a block: matrix products of fewer rows are slow


def blocked_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  """Attention of every head of every example, [B, T, H, V], in memory linear in T and S (a dense part of the mask apart)."""
  if multiplier_BHTS is not None:
    raise ValueError("the blocked kernel has no dropout on attention weights")
  arrays = scaled(query_BTHK), key_BSHK, value_BSHV
  query_BHTK, key_BHSK, value_BHSV = (x.swapaxes(1, 2) for x in arrays)
  return _attend(query_BHTK, key_BHSK, value_BHSV, mask).swapaxes(1, 2)


def scaled(query_BTHK):
  """Queries by sqrt(d_k).

  In bfloat16 the product is rounded, not the factor, whose error would be the same in every score.
  """
  scale = 1 / math.sqrt(query_BTHK.shape[-1])
  return (query_BTHK.astype(jnp.float32) * scale).astype(query_BTHK.dtype)


@jax.custom_vjp
def _attend(query_BHTK, key_BHSK, value_BHSV, mask):
  return _forward(query_BHTK, key_BHSK, value_BHSV, mask)[0]


def _forward(query_BHTK, key_BHSK, value_BHSV, mask):
  """The heads' outputs, and what the backward pass needs: of the weights, all of them or how to compute them again."""
  arrays = query_BHTK, key_BHSK, value_BHSV, mask
  if math.prod(query_BHTK.shape[:3]) * key_BHSK.shape[2] <= _BLOCK:
    weights_BHTS = _weights(query_BHTK, key_BHSK, mask)
    heads_BHTV = _product(
      "bhts,bhsv->bhtv", weights_BHTS.astype(value_BHSV.dtype), value_BHSV
    ).astype(value_BHSV.dtype)
    return heads_BHTV, (*arrays, heads_BHTV, weights_BHTS)
  heads_BHTV, *tops_and_inverses = _each_block_of_examples(_forward_examples, *arrays)
  return heads_BHTV, (*arrays, heads_BHTV, *tops_and_inverses)


def _backward(kept, slope_BHTV):
  query_BHTK, key_BHSK, value_BHSV, mask, heads_BHTV, *weights = kept
  # The mean of a row's slopes under its weights, which softmax's derivative takes off each of them.
  mean_BHT = jnp.sum(heads_BHTV.astype(jnp.float32) * slope_BHTV, axis=-1)
  if len(weights) == 1:
    gradients = _gradients(
      query_BHTK, key_BHSK, value_BHSV, mask, 0, slope_BHTV, *weights, mean_BHT
    )
  else:
    gradients = _each_block_of_examples(
      _backward_examples, query_BHTK, key_BHSK, value_BHSV, mask, slope_BHTV, *weights, mean_BHT
    )
  return *(g.astype(x.dtype) for g, x in zip(gradients, kept[:3], strict=True)), None


_attend.defvjp(_forward, _backward)


def _gradients(
  query_BHTK, key_BHSK, value_BHSV, mask, first_query, slope_BHTV, weights_BHTS, mean_BHT
):
  """Gradients of queries, keys and values, the last two in float32."""
  slope_of_weights = _product("bhtv,bhsv->bhts", slope_BHTV, value_BHSV)
  slope_of_scores = weights_BHTS * (slope_of_weights - mean_BHT[..., None])
  if not mask.allows_everything():
    # Masked scores have weight 0, but in rows that are all masked: there the scores stand for nothing.
    has_key = mask.dense(query_BHTK.shape[2], key_BHSK.shape[2], first_query).any(-1)[
      :, None, :, None
    ]
    slope_of_scores = jnp.where(has_key, slope_of_scores, 0.0)
  weights, slope_of_scores = (
    weights_BHTS.astype(query_BHTK.dtype),
    slope_of_scores.astype(query_BHTK.dtype),
  )
  return (
    _product("bhts,bhsk->bhtk", slope_of_scores, key_BHSK).astype(query_BHTK.dtype),
    sum_of_outer_products(slope_of_scores, query_BHTK, jnp.float32),
    sum_of_outer_products(weights, slope_BHTV, jnp.float32),
  )


def _forward_examples(query_BHTK, key_BHSK, value_BHSV, mask):
  """(heads, each row's largest score, one by the sum of its exponentials) of a few examples."""

  def block(_, part):
    query, mask_of_block, first = part
    scores = _scores(query, key_BHSK, mask_of_block, first)
    top = scores.max(-1, keepdims=True)
    exponentials = jnp.exp(scores - top)
    inverse = 1 / exponentials.sum(-1, keepdims=True)
    sums = _product("bhts,bhsv->bhtv", exponentials.astype(value_BHSV.dtype), value_BHSV)
    return None, ((sums * inverse).astype(value_BHSV.dtype), top[..., 0], inverse[..., 0])

  return _each_block_of_queries(block, None, key_BHSK.shape[2], mask, query_BHTK)[1]


def _backward_examples(
  query_BHTK, key_BHSK, value_BHSV, mask, slope_BHTV, top_BHT, inverse_BHT, mean_BHT
):
  """The gradients of a few examples."""

  def block(sums, part):
    query, slope, top, inverse, mean, mask_of_block, first = part
    scores = _scores(query, key_BHSK, mask_of_block, first)
    weights = (
      jnp.exp(scores - top[..., None]) * inverse[..., None]
    )  # 0 in rows that only fill up a block
    of_query, *more = _gradients(
      query, key_BHSK, value_BHSV, mask_of_block, first, slope, weights, mean
    )
    return jax.tree.map(jnp.add, sums, more), of_query

  zeros = [jnp.zeros(x.shape, jnp.float32) for x in (key_BHSK, value_BHSV)]
  (of_key, of_value), of_query = _each_block_of_queries(
    block, zeros, key_BHSK.shape[2], mask, query_BHTK, slope_BHTV, top_BHT, inverse_BHT, mean_BHT
  )
  return of_query, of_key, of_value


def _weights(query_BHTK, key_BHSK, mask):
  """All attention weights, float32."""
  return jax.nn.softmax(_scores(query_BHTK, key_BHSK, mask, 0), axis=-1)


def _scores(query_BHTK, key_BHSK, mask, first_query):
  """Scores in float32; those that are masked are the least number."""
  scores = _product("bhtk,bhsk->bhts", query_BHTK, key_BHSK)
  if mask.allows_everything():
    return scores
  allowed = mask.dense(query_BHTK.shape[2], key_BHSK.shape[2], first_query)[:, None]
  return jnp.where(allowed, scores, jnp.finfo(jnp.float32).min)


_product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _each_block_of_examples(function, query_BHTK, key_BHSK, value_BHSV, mask, *others):
  """`function` over all examples, as many at once as make a block."""
  batch, heads, num_queries, _ = query_BHTK.shape
  size = _examples_at_once(batch, _BLOCK // (heads * num_queries * key_BHSK.shape[2]))
  if mask.allowed_BTS is not None:
    mask = dataclasses.replace(
      mask, allowed_BTS=jnp.broadcast_to(mask.allowed_BTS, (batch, *mask.allowed_BTS.shape[1:]))
    )
  args = query_BHTK, key_BHSK, value_BHSV, mask, *others
  if size == batch:
    return function(*args)
  count = -(-batch // size)
  if count * size > batch:
    args = jax.tree.map(lambda x: _lengthen(x, count * size, 0), args)
  blocks = jax.tree.map(lambda x: x.reshape(count, size, *x.shape[1:]), args)
  results = jax.lax.map(lambda block: function(*block), blocks)
  return jax.tree.map(lambda x: x.reshape(count * size, *x.shape[2:])[:batch], results)


def _each_block_of_queries(function, start, num_keys, mask, *rows):
  """`function(carry, (block of each of `rows`, mask, first query)) -> (carry, results)` over all queries.

  `rows` are [B, H, T, ...]; so are the results that come back.
  """
  batch, heads, length = rows[0].shape[:3]
  size = max(_FEWEST_QUERIES, _BLOCK // (batch * heads * num_keys))
  if size >= length:
    return function(start, (*rows, mask, 0))
  count = -(-length // size)
  cut = lambda axis: (
    lambda x: jnp.moveaxis(
      _lengthen(x, count * size, axis).reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]),
      axis,
      0,
    )
  )

  def step(carry, part):
    rows, (segments, allowed), first_query = part
    return function(
      carry,
      (
        *rows,
        dataclasses.replace(mask, query_segments_BT=segments, allowed_BTS=allowed),
        first_query,
      ),
    )

  of_queries = jax.tree.map(cut(1), (mask.query_segments_BT, mask.allowed_BTS))
  end, results = jax.lax.scan(
    step, start, (jax.tree.map(cut(2), rows), of_queries, jnp.arange(count) * size)
  )
  joined = lambda x: jnp.moveaxis(x, 0, 2).reshape(batch, heads, count * size, *x.shape[4:])[
    :, :, :length
  ]
  return end, jax.tree.map(joined, results)


def _lengthen(x, length, axis):
  return jnp.pad(x, [(0, length - x.shape[axis]) if a == axis else (0, 0) for a in range(x.ndim)])


def _examples_at_once(batch, most):
  """How many examples make a block, at most `most`.

  A divisor of the batch leaves nothing to fill up; where all are small, blocks are nearly even.
  """
  most = max(1, min(batch, most))
  divisor = next(d for d in range(most, 0, -1) if batch % d == 0)
  return divisor if 2 * divisor > most else -(-batch // -(-batch // most))
