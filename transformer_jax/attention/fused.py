"""Attention of short sequences on a GPU: a program for each head of each example, in Pallas.

The queries, keys and values of one head of a sentence fit the chip at once, with all their scores.
So a program is the equation of Section 3.2.1, or its gradient, for one head; the grid of programs
is what `vmap` is in `dot_product.py`. Kernels for long sequences go by tiles of 128 queries and 128
keys, of which a sentence of 30 tokens fills a twentieth.

A program works on tiles, whose sides are powers of two. So `weights_TS` in it has more than T rows:
those beyond are computed from zeros, and never written.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Float32, Int8, Int32

from transformer_jax.attention.masks import Mask

_SMALLEST_TILE = 16  # rows and columns of a product on tensor cores


def fused_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the output of every head of every example; KERNELS has the limits of sizes.

  The weights are computed again for the gradient. On a CPU Pallas interprets the programs, which is
  for tests.

  Raises:
    ValueError: there is dropout on the weights.
  """
  batch, num_queries = query_BTHK.shape[:2]
  num_keys = key_BSHK.shape[1]
  if multiplier_BHTS is not None:
    raise ValueError("the fused kernel has no dropout on attention weights")
  lengths_B, allowed_BTS = mask.key_lengths_B, None
  if mask.query_segments_BT is not None or mask.allowed_BTS is not None:
    dense_BTS = mask.dense(num_queries, num_keys).astype(jnp.int8)
    lengths_B, allowed_BTS = None, jnp.broadcast_to(dense_BTS, (batch, num_queries, num_keys))
  return _attend(mask.causal, query_BTHK, key_BSHK, value_BSHV, lengths_B, allowed_BTS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  causal: bool,
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  lengths_B: Int32[Array, " B"] | None,
  allowed_BTS: Int8[Array, "B T S"] | None,
) -> Float[Array, "B T H V"]:
  shape_BTHV = (*query_BTHK.shape[:3], value_BSHV.shape[3])
  (heads_BTHV,) = _for_every_head(
    _attend_in_head,
    (query_BTHK, key_BSHK, value_BSHV),
    [shape_BTHV],
    causal,
    lengths_B,
    allowed_BTS,
  )
  return heads_BTHV


def _forward(causal: bool, *arrays: Array | None) -> tuple[Array, tuple[Array | None, ...]]:
  return _attend(causal, *arrays), arrays


def _backward(causal: bool, arrays: Sequence[Any], gradient_BTHV: Array) -> tuple[Any, ...]:
  *inputs, lengths_B, allowed_BTS = arrays
  gradients = _for_every_head(
    _gradients_of_head,
    (*inputs, gradient_BTHV),
    [array.shape for array in inputs],
    causal,
    lengths_B,
    allowed_BTS,
  )
  return *gradients, None, None


_attend.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Part:
  """One head's rows of an array, in a tile whose sides are powers of two.

  `memory` is what Pallas calls a reference: the tile in the GPU's memory.
  """

  memory: Any
  rows: int
  width: int

  def read(self) -> Array:
    """Returns the tile, with zeros around the rows."""
    return triton.load(self.memory, mask=self._is_inside(), other=0)

  def write(self, tile: Array) -> None:
    """Writes the rows of a tile."""
    triton.store(self.memory, tile.astype(self.memory.dtype), mask=self._is_inside())

  def _is_inside(self) -> Array:
    row, column = _places(self.memory.shape)
    return (row < self.rows) & (column < self.width)


def _attend_in_head(
  allowed_TS: Array, query: _Part, key: _Part, value: _Part, output: _Part
) -> None:
  """Writes softmax(Q K^T / sqrt(d_k)) V."""
  weights_TS = _weights(allowed_TS, query, key)
  value_SV = value.read()
  output.write(triton.dot(weights_TS.astype(value_SV.dtype), value_SV))


def _gradients_of_head(
  allowed_TS: Array,
  query: _Part,
  key: _Part,
  value: _Part,
  output_gradient: _Part,
  *gradients: _Part,
) -> None:
  """Writes the gradients of queries, keys and values."""
  weights_TS = _weights(allowed_TS, query, key)
  gradient_TV = output_gradient.read()
  of_query, of_key, of_value = gradients
  of_value.write(triton.dot(weights_TS.astype(gradient_TV.dtype), gradient_TV, trans_a=True))
  of_weights_TS = triton.dot(gradient_TV, value.read(), trans_b=True)
  mean_T = jnp.sum(weights_TS * of_weights_TS, axis=1)
  of_scores_TS = weights_TS * (of_weights_TS - mean_T[:, None]) / math.sqrt(query.width)
  of_scores_TS = jnp.where(allowed_TS, of_scores_TS, 0.0).astype(gradient_TV.dtype)
  of_query.write(triton.dot(of_scores_TS, key.read()))
  of_key.write(triton.dot(of_scores_TS, query.read(), trans_a=True))


def _weights(allowed_TS: Array, query: _Part, key: _Part) -> Array:
  """Returns the softmax over the keys in float32; uniform where no key is allowed."""
  scores_TS = triton.dot(query.read(), key.read(), trans_b=True) / math.sqrt(query.width)
  scores_TS = jnp.where(allowed_TS, scores_TS, jnp.finfo(jnp.float32).min)
  _, column = _places(scores_TS.shape)
  scores_TS = jnp.where(column < key.rows, scores_TS, -jnp.inf)  # beyond the keys
  exps_TS = jnp.exp(scores_TS - jnp.max(scores_TS, axis=1)[:, None])
  return exps_TS / jnp.sum(exps_TS, axis=1)[:, None]


def _for_every_head(
  of_head: Callable[..., None],
  inputs: Sequence[Array],
  output_shapes: Sequence[tuple[int, ...]],
  causal: bool,
  lengths_B: Array | None,
  allowed_BTS: Array | None,
) -> Sequence[Array]:
  """Runs a program for each head of each example; returns arrays of the output shapes.

  Args:
    of_head: function of the allowed pairs of queries and keys (a tile) and of the parts of inputs
      and outputs.
    inputs: [B, _, H, _] each, beginning with queries and keys.
    output_shapes: (B, _, H, _) each.
    causal, lengths_B, allowed_BTS: the mask; at most one of the two arrays is given.
  """
  batch, num_queries, num_heads, _ = inputs[0].shape
  tile_TS = _tile(num_queries), _tile(inputs[1].shape[1])
  masks, mask_specs = [], []
  if lengths_B is not None:
    masks.append(lengths_B)
    mask_specs.append(pl.BlockSpec((None,), lambda example, _: (example,)))
  if allowed_BTS is not None:
    masks.append(allowed_BTS)
    mask_specs.append(pl.BlockSpec((None, *tile_TS), lambda example, _: (example, 0, 0)))
  shapes = [array.shape for array in inputs] + list(output_shapes)
  specs = [
    pl.BlockSpec(
      (None, _tile(rows), None, _tile(width)), lambda example, head: (example, 0, head, 0)
    )
    for _, rows, _, width in shapes
  ]

  def program(*tiles: Any) -> None:
    row, column = _places(tile_TS)
    allowed_TS = column <= row if causal else column >= 0
    if lengths_B is not None:
      allowed_TS &= column < tiles[0][...]
    if allowed_BTS is not None:
      allowed_TS &= _Part(tiles[0], *allowed_BTS.shape[1:]).read() != 0
    parts = [
      _Part(tile, rows, width)
      for tile, (_, rows, _, width) in zip(tiles[len(masks) :], shapes, strict=True)
    ]
    of_head(allowed_TS, *parts)

  return pl.pallas_call(
    program,
    grid=(batch, num_heads),
    in_specs=mask_specs + specs[: len(inputs)],
    out_specs=specs[len(inputs) :],
    out_shape=[jax.ShapeDtypeStruct(shape, inputs[0].dtype) for shape in output_shapes],
    compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),  # there is no loop to overlap
    interpret=jax.default_backend() == "cpu",
    name=of_head.__name__.strip("_"),
  )(*masks, *inputs)


def _tile(size: int) -> int:
  """Returns the side of a tile that holds `size` rows or columns: a power of two, at least 16."""
  return max(_SMALLEST_TILE, pl.next_power_of_2(size))


def _places(shape: tuple[int, ...]) -> tuple[Array, Array]:
  """Returns the row and the column of each element of a tile."""
  row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
  return row, column
