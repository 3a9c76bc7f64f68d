"""Attention that is fast on a CPU for many heads, in memory that is linear in T.

With more heads at the same h d_k, two things slow the plain kernels down. First, keys in the layout
[B, S, H, K] make each head's matrix products thin and strided. So here the rows of a head are
contiguous, and thin products are computed in their fast orientation. Second, the plain kernels keep
the h T S weights of an example for the backward pass. Here they are kept only if they fit a block;
else they are recomputed, a block at a time. The backward pass is that of FlashAttention (Dao et al.
2022, Section 3.1 and Appendix B).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.attention.masks import Mask
from transformer_jax.attention.matmul import sum_of_outer_products

# Scores in a block, 32 MB. Smaller blocks, which fit a cache, were not faster: cutting and joining
# them costs as much time as the cache saves.
_BLOCK = 1 << 23
# The fewest queries in a block: matrix products of fewer rows are slow.
_FEWEST_QUERIES = 64

Carry = TypeVar("Carry")


def blocked_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the output of every head of every example, in memory linear in T and S.

  Only a dense part of the mask (`allowed_BTS`) and `multiplier_BHTS` take memory of T S.
  """
  query_BHTK = scaled(query_BTHK).swapaxes(1, 2)
  key_BHSK = key_BSHK.swapaxes(1, 2)
  value_BHSV = value_BSHV.swapaxes(1, 2)
  return _attend(query_BHTK, key_BHSK, value_BHSV, mask, multiplier_BHTS).swapaxes(1, 2)


def scaled(query_BTHK: Float[Array, "B T H K"]) -> Float[Array, "B T H K"]:
  """Returns the queries divided by sqrt(d_k).

  In bfloat16 the product is rounded, not the factor, whose error would be the same in every score.
  """
  scale = 1 / math.sqrt(query_BTHK.shape[-1])
  return (query_BTHK.astype(jnp.float32) * scale).astype(query_BTHK.dtype)


class _Residuals(NamedTuple):
  """The forward pass's arrays that the backward pass needs."""

  query_BHTK: Float[Array, "B H T K"]
  key_BHSK: Float[Array, "B H S K"]
  value_BHSV: Float[Array, "B H S V"]
  mask: Mask
  heads_BHTV: Float[Array, "B H T V"]
  # The weights if they fit a block, else the softmax statistics to recompute them.
  weights_BHTS: Float32[Array, "B H T S"] | None = None
  row_max_BHT: Float32[Array, "B H T"] | None = None
  inverse_sum_BHT: Float32[Array, "B H T"] | None = None
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None  # dropout's factors of the weights


@jax.custom_vjp
def _attend(
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None,
) -> Float[Array, "B H T V"]:
  """Returns the heads' outputs for queries that are already scaled."""
  return _forward(query_BHTK, key_BHSK, value_BHSV, mask, multiplier_BHTS)[0]


def _forward(
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None,
) -> tuple[Float[Array, "B H T V"], _Residuals]:
  """Returns the heads' outputs and the residuals."""
  arrays = query_BHTK, key_BHSK, value_BHSV, mask
  batch, num_heads, num_queries, _ = query_BHTK.shape
  if batch * num_heads * num_queries * key_BHSK.shape[2] <= _BLOCK:
    weights_BHTS = jax.nn.softmax(_scores(query_BHTK, key_BHSK, mask, 0), axis=-1)
    kept_BHTS = _dropped(weights_BHTS, multiplier_BHTS).astype(value_BHSV.dtype)
    heads_BHTV = _product("bhts,bhsv->bhtv", kept_BHTS, value_BHSV).astype(value_BHSV.dtype)
    residuals = _Residuals(
      *arrays, heads_BHTV, weights_BHTS=weights_BHTS, multiplier_BHTS=multiplier_BHTS
    )
    return heads_BHTV, residuals
  heads_BHTV, row_max_BHT, inverse_sum_BHT = _each_block_of_examples(
    _forward_examples, *arrays, multiplier_BHTS
  )
  residuals = _Residuals(
    *arrays,
    heads_BHTV,
    row_max_BHT=row_max_BHT,
    inverse_sum_BHT=inverse_sum_BHT,
    multiplier_BHTS=multiplier_BHTS,
  )
  return heads_BHTV, residuals


def _backward(
  residuals: _Residuals, gradient_BHTV: Float[Array, "B H T V"]
) -> tuple[Float[Array, "B H T K"], Float[Array, "B H S K"], Float[Array, "B H S V"], None, None]:
  """Returns the gradients of queries, keys and values."""
  query_BHTK, key_BHSK, value_BHSV, mask, heads_BHTV = residuals[:5]
  arrays = query_BHTK, key_BHSK, value_BHSV, mask
  # FlashAttention's D: the mean of a row's gradients under its weights, dropped or not.
  delta_BHT = jnp.sum(heads_BHTV.astype(jnp.float32) * gradient_BHTV, axis=-1)
  if residuals.weights_BHTS is not None:
    gradients = _gradients(
      *arrays,
      0,
      gradient_BHTV,
      residuals.weights_BHTS,
      delta_BHT,
      residuals.multiplier_BHTS,
    )
  else:
    statistics = (
      residuals.row_max_BHT,
      residuals.inverse_sum_BHT,
      delta_BHT,
      residuals.multiplier_BHTS,
    )
    gradients = _each_block_of_examples(_backward_examples, *arrays, gradient_BHTV, *statistics)
  of_query, of_key, of_value = gradients
  return (
    of_query.astype(query_BHTK.dtype),
    of_key.astype(key_BHSK.dtype),
    of_value.astype(value_BHSV.dtype),
    None,
    None,
  )


_attend.defvjp(_forward, _backward)


def _gradients(  # noqa: PLR0913  each is an array of one block
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  first_query: int | Int32[Array, ""],
  gradient_BHTV: Float[Array, "B H T V"],
  weights_BHTS: Float32[Array, "B H T S"],
  delta_BHT: Float32[Array, "B H T"],
  multiplier_BHTS: Float32[Array, "B H T S"] | None,
) -> tuple[Float[Array, "B H T K"], Float32[Array, "B H S K"], Float32[Array, "B H S V"]]:
  """Returns the gradients of queries, keys and values, the last two in float32."""
  of_kept_BHTS = _product("bhtv,bhsv->bhts", gradient_BHTV, value_BHSV)
  of_weights_BHTS = _dropped(of_kept_BHTS, multiplier_BHTS)
  of_scores_BHTS = weights_BHTS * (of_weights_BHTS - delta_BHT[..., None])
  if not mask.allows_everything():
    # The weight of a masked score is 0, except in a row that is all masked. There the weights are
    # uniform whatever the scores are.
    allowed_BTS = mask.dense(query_BHTK.shape[2], key_BHSK.shape[2], first_query)
    has_key_B1T1 = allowed_BTS.any(-1)[:, None, :, None]
    of_scores_BHTS = jnp.where(has_key_B1T1, of_scores_BHTS, 0.0)
  kept_BHTS = _dropped(weights_BHTS, multiplier_BHTS).astype(query_BHTK.dtype)
  of_scores_BHTS = of_scores_BHTS.astype(query_BHTK.dtype)
  of_query_BHTK = _product("bhts,bhsk->bhtk", of_scores_BHTS, key_BHSK).astype(query_BHTK.dtype)
  of_key_BHSK = sum_of_outer_products(of_scores_BHTS, query_BHTK, jnp.float32)
  of_value_BHSV = sum_of_outer_products(kept_BHTS, gradient_BHTV, jnp.float32)
  return of_query_BHTK, of_key_BHSK, of_value_BHSV


def _forward_examples(
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None,
) -> tuple[Float[Array, "B H T V"], Float32[Array, "B H T"], Float32[Array, "B H T"]]:
  """Returns a few examples' (outputs, row maxima of the scores, 1 / sums of the exponentials)."""

  def block(_: None, part: tuple[Any, ...]) -> tuple[None, tuple[Array, Array, Array]]:
    query, multiplier, mask_of_block, first_query = part
    scores = _scores(query, key_BHSK, mask_of_block, first_query)
    row_max = scores.max(-1, keepdims=True)
    exponentials = jnp.exp(scores - row_max)
    inverse_sum = 1 / exponentials.sum(-1, keepdims=True)
    kept = _dropped(exponentials, multiplier).astype(value_BHSV.dtype)
    sums = _product("bhts,bhsv->bhtv", kept, value_BHSV)
    heads = (sums * inverse_sum).astype(value_BHSV.dtype)
    return None, (heads, row_max[..., 0], inverse_sum[..., 0])

  rows = query_BHTK, multiplier_BHTS
  _, results = _each_block_of_queries(block, None, key_BHSK.shape[2], mask, *rows)
  return results


def _backward_examples(  # noqa: PLR0913  each is an array of one block
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  gradient_BHTV: Float[Array, "B H T V"],
  row_max_BHT: Float32[Array, "B H T"],
  inverse_sum_BHT: Float32[Array, "B H T"],
  delta_BHT: Float32[Array, "B H T"],
  multiplier_BHTS: Float32[Array, "B H T S"] | None,
) -> tuple[Float[Array, "B H T K"], Float32[Array, "B H S K"], Float32[Array, "B H S V"]]:
  """Returns the gradients of a few examples."""

  def block(sums: list[Array], part: tuple[Any, ...]) -> tuple[list[Array], Array]:
    query, gradient, row_max, inverse_sum, delta, multiplier, mask_of_block, first_query = part
    scores = _scores(query, key_BHSK, mask_of_block, first_query)
    # 0 in rows of padding.
    weights = jnp.exp(scores - row_max[..., None]) * inverse_sum[..., None]
    of_query, *of_others = _gradients(
      query, key_BHSK, value_BHSV, mask_of_block, first_query, gradient, weights, delta, multiplier
    )
    return jax.tree.map(jnp.add, sums, of_others), of_query

  zeros = [jnp.zeros(x.shape, jnp.float32) for x in (key_BHSK, value_BHSV)]
  rows = query_BHTK, gradient_BHTV, row_max_BHT, inverse_sum_BHT, delta_BHT, multiplier_BHTS
  (of_key, of_value), of_query = _each_block_of_queries(
    block, zeros, key_BHSK.shape[2], mask, *rows
  )
  return of_query, of_key, of_value


def _scores(
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  mask: Mask,
  first_query: int | Int32[Array, ""],
) -> Float32[Array, "B H T S"]:
  """Returns the scores; a masked score is the least number of its dtype."""
  scores_BHTS = _product("bhtk,bhsk->bhts", query_BHTK, key_BHSK)
  if mask.allows_everything():
    return scores_BHTS
  allowed_BTS = mask.dense(query_BHTK.shape[2], key_BHSK.shape[2], first_query)
  return jnp.where(allowed_BTS[:, None], scores_BHTS, jnp.finfo(jnp.float32).min)


def _dropped(
  weights_BHTS: Float32[Array, "B H T S"], multiplier_BHTS: Float32[Array, "B H T S"] | None
) -> Float32[Array, "B H T S"]:
  """Returns weights, or their gradients, with dropout's factors; None multiplies nothing."""
  return weights_BHTS if multiplier_BHTS is None else weights_BHTS * multiplier_BHTS


_product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _each_block_of_examples(
  function: Callable[..., Any],
  query_BHTK: Float[Array, "B H T K"],
  key_BHSK: Float[Array, "B H S K"],
  value_BHSV: Float[Array, "B H S V"],
  mask: Mask,
  *others: Float[Array, "B H T *_"] | None,
) -> Any:
  """Returns the results of `function` for all examples, computed for a block of them at a time."""
  batch, num_heads, num_queries, _ = query_BHTK.shape
  scores_of_example = num_heads * num_queries * key_BHSK.shape[2]
  size = _examples_at_once(batch, _BLOCK // scores_of_example)
  if mask.allowed_BTS is not None:
    allowed_BTS = jnp.broadcast_to(mask.allowed_BTS, (batch, *mask.allowed_BTS.shape[1:]))
    mask = dataclasses.replace(mask, allowed_BTS=allowed_BTS)
  args = query_BHTK, key_BHSK, value_BHSV, mask, *others
  if size == batch:
    return function(*args)
  count = -(-batch // size)
  if count * size > batch:
    args = jax.tree.map(lambda x: _lengthen(x, count * size, 0), args)
  blocks = jax.tree.map(lambda x: x.reshape(count, size, *x.shape[1:]), args)
  results = jax.lax.map(lambda block: function(*block), blocks)
  return jax.tree.map(lambda x: x.reshape(count * size, *x.shape[2:])[:batch], results)


def _each_block_of_queries(
  function: Callable[[Carry, tuple[Any, ...]], tuple[Carry, Any]],
  carry: Carry,
  num_keys: int,
  mask: Mask,
  query_BHTK: Float[Array, "B H T K"],
  *others: Float[Array, "B H T *_"] | None,
) -> tuple[Carry, Any]:
  """Returns the last carry and the results of all queries, computed for a block of them at a time.

  `function` maps (carry, (the block of the queries and of each of `others`, mask, first query)) to
  (carry, results). `others` and results are [B, H, T, ...].
  """
  rows = query_BHTK, *others
  batch, num_heads, num_queries = query_BHTK.shape[:3]
  size = max(_FEWEST_QUERIES, _BLOCK // (batch * num_heads * num_keys))
  if size >= num_queries:
    return function(carry, (*rows, mask, 0))
  count = -(-num_queries // size)

  def cut(x: Array, axis: int) -> Array:
    """Returns `x` with its axis of queries cut into blocks; the axis of the blocks is the first."""
    x = _lengthen(x, count * size, axis)
    x = x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)

  def join(x: Array) -> Array:
    """Returns blocks [count, B, H, size, ...] as [B, H, T, ...]."""
    x = jnp.moveaxis(x, 0, 2)
    x = x.reshape(batch, num_heads, count * size, *x.shape[4:])
    return x[:, :, :num_queries]

  def step(carry: Carry, block: tuple[Any, ...]) -> tuple[Carry, Any]:
    rows, (segments_BT, allowed_BTS), first_query = block
    mask_of_block = dataclasses.replace(
      mask, query_segments_BT=segments_BT, allowed_BTS=allowed_BTS
    )
    return function(carry, (*rows, mask_of_block, first_query))

  masks = jax.tree.map(lambda x: cut(x, axis=1), (mask.query_segments_BT, mask.allowed_BTS))
  blocks = jax.tree.map(lambda x: cut(x, axis=2), rows)
  carry, results = jax.lax.scan(step, carry, (blocks, masks, jnp.arange(count) * size))
  return carry, jax.tree.map(join, results)


def _lengthen(x: Array, length: int, axis: int) -> Array:
  """Returns `x` with zeros at the end of an axis."""
  padding = [(0, 0)] * x.ndim
  padding[axis] = (0, length - x.shape[axis])
  return jnp.pad(x, padding)


def _examples_at_once(batch: int, most: int) -> int:
  """Returns the number of examples in a block: from 1 to `most`.

  A divisor of the batch needs no padding. If all divisors are small, the blocks are nearly even.
  """
  most = max(1, min(batch, most))
  divisor = next(d for d in range(most, 0, -1) if batch % d == 0)
  if 2 * divisor > most:
    return divisor
  count = -(-batch // most)
  return -(-batch // count)
