"""The frame around every sub-layer: residual connection, dropout, layer normalisation (Section 3.1).

Where the normalisation stands (post, the paper; pre, a later habit) is decided here and nowhere else.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from transformer_jax.config import ModelConfig
from transformer_jax.model.dropout import dropout


class LayerNorm(nn.Module):
  """Normalises the last axis to mean 0 and variance 1 in float32, then scales and shifts it."""

  dtype: jnp.dtype
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * lax.rsqrt(variance + self.epsilon) * scale + bias).astype(self.dtype)


class AddAndNorm(LayerNorm):
  """LayerNorm(x + Dropout(Sublayer(x))); with `norm="pre"`, x + Dropout(Sublayer(LayerNorm(x)))."""

  config: ModelConfig | None = None

  @nn.compact
  def __call__(self, inputs, sublayer, deterministic):
    """Runs `sublayer`, a function x -> (output, extra), in this frame; returns (result, extra)."""
    cfg = self.config
    if cfg.norm == "pre":
      outputs, extra = sublayer(super().__call__(inputs))
      return inputs + dropout(self, outputs, cfg.dropout_rate, deterministic), extra
    outputs, extra = sublayer(inputs)
    return super().__call__(inputs + dropout(self, outputs, cfg.dropout_rate, deterministic)), extra


def layer_class(cls, config, static_argnums):
  """A layer's class, with `config.rematerialize` one that keeps its inputs alone for the backward pass (Chen et al. 2016).

  `static_argnums` are the places of Python values among `__call__`'s arguments, self being 0.
  """
  return nn.remat(cls, static_argnums=static_argnums) if config.rematerialize else cls


def final_norm(config, dtype):
  """The LayerNorm that a pre-norm stack needs on its output; None for post-norm."""
  return LayerNorm(dtype) if config.norm == "pre" else None
