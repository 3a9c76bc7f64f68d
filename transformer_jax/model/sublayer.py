"""Residual connection, dropout and LayerNorm around every sub-layer (Section 3.1).

Only this file decides where the normalization is: after the sum, as in the paper ("post"), or
before the sub-layer, as in most later models ("pre").
"""

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from transformer_jax.config import ModelConfig
from transformer_jax.model.dropout import dropout

Extra = TypeVar("Extra")
Layer = TypeVar("Layer", bound=nn.Module)


class LayerNorm(nn.Module):
  """Normalizes the last axis to mean 0 and variance 1 in float32, then scales and shifts it."""

  dtype: jnp.dtype
  epsilon: float

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Returns `x` normalized."""
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    x = x.astype(jnp.float32)
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
    return (centered * lax.rsqrt(variance + self.epsilon) * scale + bias).astype(self.dtype)


class AddAndNorm(nn.Module):
  """LayerNorm(x + Dropout(Sublayer(x))); for `norm="pre"`, x + Dropout(Sublayer(LayerNorm(x)))."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    self.layer_norm = LayerNorm(self.dtype, self.config.layer_norm_epsilon)
    # Parameters are named as if they were this module's own, such as "self_attention_norm/scale".
    nn.share_scope(self, self.layer_norm)

  def __call__(
    self,
    inputs: Float[Array, "*B D"],
    sublayer: Callable[[Float[Array, "*B D"]], tuple[Float[Array, "*B D"], Extra]],
    deterministic: bool,
  ) -> tuple[Float[Array, "*B D"], Extra]:
    """Applies `sublayer`, a function x -> (output, extra); returns (result, extra)."""
    rate = self.config.dropout_rate
    if self.config.norm == "pre":
      outputs, extra = sublayer(self.layer_norm(inputs))
      return inputs + dropout(self, outputs, rate, deterministic), extra
    outputs, extra = sublayer(inputs)
    return self.layer_norm(inputs + dropout(self, outputs, rate, deterministic)), extra


def layer_class(
  cls: type[Layer], config: ModelConfig, static_argnums: tuple[int, ...]
) -> type[Layer]:
  """Returns `cls`, wrapped in `nn.remat` if `config.rematerialize`, so that only inputs are kept.

  The backward pass then computes the rest again (Chen et al. 2016). `static_argnums` are the
  numbers of those arguments of `__call__` that are Python values; self is 0.
  """
  if not config.rematerialize:
    return cls
  return nn.remat(cls, static_argnums=static_argnums)


def final_norm(config: ModelConfig, dtype: jnp.dtype) -> LayerNorm | None:
  """Returns the LayerNorm that a pre-norm stack needs on its output; None for post-norm."""
  if config.norm == "pre":
    return LayerNorm(dtype, config.layer_norm_epsilon)
  return None
