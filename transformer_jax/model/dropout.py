"""Dropout (Section 5.4) with few random bits."""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, PRNGKeyArray, UInt16

_LEVELS = 1 << 16

# A factor of all rates while a model is traced: see `scaled_rates`.
_SCALE: contextvars.ContextVar[Float32[Array, ""] | None] = contextvars.ContextVar(
  "scale of dropout rates", default=None
)


@contextlib.contextmanager
def scaled_rates(scale: Float32[Array, ""] | None) -> Iterator[None]:
  """A context in which all dropout rates are multiplied by `scale`, which may be traced.

  It is not an argument of every module, as rates are not. None leaves the rates constants of the
  program.

  Example:
    with scaled_rates(jnp.float32(0.5)):
      model.apply(variables, source_BS, target_BT, deterministic=False, rngs=dict(dropout=key))
  """
  token = _SCALE.set(scale)
  try:
    yield
  finally:
    _SCALE.reset(token)


def dropout(
  module: nn.Module, x: Float[Array, "*B D"], rate: float, deterministic: bool
) -> Float[Array, "*B D"]:
  """Returns `x` with each element set to zero with probability `rate` and the others scaled up.

  So the mean stays the same. `rate` is rounded to a multiple of 1/65536: sixteen random bits per
  element cost half as much as a random float. In bfloat16 the product is rounded, not the factor,
  whose error would be the same in every element.

  Args:
    module: the module whose random stream "dropout" is used.
    x: activations.
    rate: P_drop.
    deterministic: return `x` as it is.
  """
  if deterministic or rate == 0.0:
    return x
  return (x * keep_multiplier(module.make_rng("dropout"), x.shape, rate)).astype(x.dtype)


def keep_multiplier(
  key: PRNGKeyArray, shape: tuple[int, ...], rate: float
) -> Float32[Array, "..."]:
  """Returns 0 with probability `rate`, else 1 / (1 - rate), for each element of `shape`.

  In `scaled_rates` the rate is its product with the scale.
  """
  dropped_levels = round(rate * _LEVELS)
  scale = _SCALE.get()
  if scale is None:
    keep = _sixteen_bits(key, shape) >= dropped_levels
    return jnp.where(keep, jnp.float32(_LEVELS / (_LEVELS - dropped_levels)), 0.0)
  scaled_levels = jnp.round(scale * dropped_levels)
  keep = _sixteen_bits(key, shape) >= scaled_levels.astype(jnp.uint16)
  return jnp.where(keep, _LEVELS / (_LEVELS - scaled_levels), 0.0)


def _sixteen_bits(key: PRNGKeyArray, shape: tuple[int, ...]) -> UInt16[Array, "..."]:
  """Returns random 16-bit integers, two from each random uint32.

  `jax.random.bits(uint16)` would draw a uint32 for each and discard half of it.
  """
  count = math.prod(shape)
  words = jax.random.bits(key, (-(-count // 2),), jnp.uint32)
  return lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:count].reshape(shape)
