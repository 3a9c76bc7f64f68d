"""The encoder stack (Section 3.1)."""

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.config import ModelConfig
from transformer_jax.model.feed_forward import FeedForward
from transformer_jax.model.head_gates import per_layer
from transformer_jax.model.multi_head_attention import MultiHeadAttention
from transformer_jax.model.sublayer import AddAndNorm, final_norm, layer_class


class EncoderLayer(nn.Module):
  """Self-attention, then the feed-forward network."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    self.self_attention = MultiHeadAttention(self.config, self.dtype)
    self.self_attention_norm = AddAndNorm(self.dtype, config=self.config)
    self.feed_forward = FeedForward(self.config, self.dtype)
    self.feed_forward_norm = AddAndNorm(self.dtype, config=self.config)

  def __call__(self, inputs_BSD, mask, deterministic, return_weights, gates_H):
    """Returns ([B, S, D], self-attention weights [B, H, S, S] or None)."""
    x_BSD, weights = self.self_attention_norm(
      inputs_BSD,
      lambda x: self.self_attention(x, x, mask, deterministic, return_weights, gates_H),
      deterministic,
    )
    x_BSD, _ = self.feed_forward_norm(
      x_BSD, lambda x: (self.feed_forward(x, deterministic), None), deterministic
    )
    return x_BSD, weights


class Encoder(nn.Module):
  """N identical layers; their last output is the decoder's memory."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    layer = layer_class(EncoderLayer, self.config, static_argnums=(3, 4))
    self.layer = [layer(self.config, self.dtype) for _ in range(self.config.num_layers)]
    self.final_norm = final_norm(self.config, self.dtype)

  def __call__(self, x_BSD, mask, deterministic=True, return_weights=False, gates_NH=None):
    """Returns (memory [B, S, D], one array of weights [B, H, S, S] a layer, or Nones)."""
    weights = []
    for layer, gates_H in zip(self.layer, per_layer(gates_NH, len(self.layer)), strict=True):
      x_BSD, layer_weights = layer(x_BSD, mask, deterministic, return_weights, gates_H)
      weights.append(layer_weights)
    return (self.final_norm(x_BSD) if self.final_norm else x_BSD), weights
