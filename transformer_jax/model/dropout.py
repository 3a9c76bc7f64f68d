"""Dropout (Section 5.4) with few random bits."""

import math

import jax
import jax.numpy as jnp
from jax import lax

_LEVELS = 1 << 16


def dropout(module, x, rate, deterministic):
  """`x` with each element zeroed with probability `rate` and the rest scaled up, so that the mean stays.

  `rate` is rounded to a multiple of 1/65536: sixteen random bits an element cost half of what a float's take.
  In bfloat16 the product is rounded, not the factor, whose error would be that of every element.
  """
  if deterministic or rate == 0.0:
    return x
  return (x * keep_multiplier(module.make_rng("dropout"), x.shape, rate)).astype(x.dtype)


def keep_multiplier(key, shape, rate):
  """0 with probability `rate`, else 1 / (1 - rate), float32."""
  dropped_levels = round(rate * _LEVELS)
  keep = _sixteen_bits(key, shape) >= dropped_levels
  return jnp.where(keep, jnp.float32(_LEVELS / (_LEVELS - dropped_levels)), 0.0)


def _sixteen_bits(key, shape):
  """Random uint16, two of each random uint32: asked for uint16, jax draws as many uint32 and throws half of their bits away."""
  count = math.prod(shape)
  words = jax.random.bits(key, (-(-count // 2),), jnp.uint32)
  return lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:count].reshape(shape)
