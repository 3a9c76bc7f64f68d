"""The encoder stack (Section 3.1)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from transformer_jax.attention import Mask
from transformer_jax.config import ModelConfig
from transformer_jax.model.feed_forward import FeedForward
from transformer_jax.model.head_gates import per_layer
from transformer_jax.model.multi_head_attention import MultiHeadAttention
from transformer_jax.model.sublayer import AddAndNorm, final_norm, layer_class


class EncoderLayer(nn.Module):
  """Self-attention, then the feed-forward network."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    self.self_attention = MultiHeadAttention(self.config, self.dtype)
    self.self_attention_norm = AddAndNorm(self.config, self.dtype)
    self.feed_forward = FeedForward(self.config, self.dtype)
    self.feed_forward_norm = AddAndNorm(self.config, self.dtype)

  def __call__(
    self,
    inputs_BSD: Float[Array, "B S D"],
    mask: Mask,
    deterministic: bool,
    return_weights: bool,
    gates_H: Float[Array, "... H"] | None,
  ) -> tuple[Float[Array, "B S D"], Float32[Array, "B H S S"] | None]:
    """Returns (outputs, self-attention weights or None)."""

    def attention(x_BSD: Array) -> tuple[Array, Array | None]:
      return self.self_attention(x_BSD, x_BSD, mask, deterministic, return_weights, gates_H)

    def feed_forward(x_BSD: Array) -> tuple[Array, None]:
      return self.feed_forward(x_BSD, deterministic), None

    x_BSD, weights_BHSS = self.self_attention_norm(inputs_BSD, attention, deterministic)
    x_BSD, _ = self.feed_forward_norm(x_BSD, feed_forward, deterministic)
    return x_BSD, weights_BHSS


class Encoder(nn.Module):
  """N identical layers; their last output is the decoder's memory."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    layer = layer_class(EncoderLayer, self.config, static_argnums=(3, 4))
    self.layer = [layer(self.config, self.dtype) for _ in range(self.config.num_layers)]
    self.final_norm = final_norm(self.config, self.dtype)

  def __call__(
    self,
    x_BSD: Float[Array, "B S D"],
    mask: Mask,
    deterministic: bool = True,
    return_weights: bool = False,
    gates_NH: Float[Array, "N ... H"] | None = None,
  ) -> tuple[Float[Array, "B S D"], list[Float32[Array, "B H S S"] | None]]:
    """Returns (memory, the attention weights of each layer or Nones)."""
    weights = []
    for layer, gates_H in zip(self.layer, per_layer(gates_NH, len(self.layer)), strict=True):
      x_BSD, layer_weights = layer(x_BSD, mask, deterministic, return_weights, gates_H)
      weights.append(layer_weights)
    if self.final_norm is not None:
      x_BSD = self.final_norm(x_BSD)
    return x_BSD, weights
