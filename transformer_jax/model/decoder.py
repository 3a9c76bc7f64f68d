"""The decoder stack (Section 3.1), over a whole target at once or one position at a time."""

from collections.abc import Callable
from typing import TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.attention import Mask
from transformer_jax.config import ModelConfig
from transformer_jax.model.cache import Cache, KeysAndValues, Memory, Position
from transformer_jax.model.feed_forward import FeedForward
from transformer_jax.model.head_gates import HeadGates, LayerGates, per_layer
from transformer_jax.model.multi_head_attention import MultiHeadAttention
from transformer_jax.model.sublayer import AddAndNorm, final_norm, layer_class

Own = TypeVar("Own")
Cross = TypeVar("Cross")

# A layer's (self-attention weights, cross-attention weights), or Nones.
LayerWeights = tuple[Float32[Array, "B H T T"] | None, Float32[Array, "B H T S"] | None]


class DecoderLayer(nn.Module):
  """Masked self-attention, attention over the encoder's output, then the feed-forward network."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    self.self_attention = MultiHeadAttention(self.config, self.dtype)
    self.self_attention_norm = AddAndNorm(self.config, self.dtype)
    self.cross_attention = MultiHeadAttention(self.config, self.dtype)
    self.cross_attention_norm = AddAndNorm(self.config, self.dtype)
    self.feed_forward = FeedForward(self.config, self.dtype)
    self.feed_forward_norm = AddAndNorm(self.config, self.dtype)

  def __call__(
    self,
    inputs_BTD: Float[Array, "B T D"],
    memory_BSD: Float[Array, "B S D"],
    own_mask: Mask,
    memory_mask: Mask,
    deterministic: bool,
    return_weights: bool,
    gates: LayerGates,
  ) -> tuple[Float[Array, "B T D"], LayerWeights]:
    """Returns (outputs, attention weights or Nones)."""

    def own(x_BTD: Array) -> tuple[Array, Array | None]:
      return self.self_attention(x_BTD, x_BTD, own_mask, deterministic, return_weights, gates.own_H)

    def cross(x_BTD: Array) -> tuple[Array, Array | None]:
      return self.cross_attention(
        x_BTD, memory_BSD, memory_mask, deterministic, return_weights, gates.cross_H
      )

    return self._sublayers(inputs_BTD, deterministic, own, cross)

  def step(
    self,
    inputs_BMD: Float[Array, "B M D"],
    position: Position,
    own: KeysAndValues,
    own_mask: Mask,
    source: KeysAndValues,
    source_mask: Mask,
    gates: LayerGates,
  ) -> tuple[Float[Array, "B M D"], KeysAndValues]:
    """Returns, for one position of M hypotheses, the outputs and `own` with that position added."""

    def attend_own(x_BMD: Array) -> tuple[Array, KeysAndValues]:
      written = own.write(self.self_attention.keys_and_values(x_BMD), position)
      return self.self_attention.attend_cached(x_BMD, written, own_mask, gates.own_H), written

    def attend_source(x_BMD: Array) -> tuple[Array, None]:
      return self.cross_attention.attend_cached(x_BMD, source, source_mask, gates.cross_H), None

    x_BMD, (written, _) = self._sublayers(inputs_BMD, True, attend_own, attend_source)
    return x_BMD, written

  def _sublayers(
    self,
    x_BTD: Float[Array, "B T D"],
    deterministic: bool,
    own: Callable[[Array], tuple[Array, Own]],
    cross: Callable[[Array], tuple[Array, Cross]],
  ) -> tuple[Float[Array, "B T D"], tuple[Own, Cross]]:
    """Runs the three sub-layers; returns (outputs, the second results of the two attentions)."""

    def feed_forward(x_BTD: Array) -> tuple[Array, None]:
      return self.feed_forward(x_BTD, deterministic), None

    x_BTD, own_extra = self.self_attention_norm(x_BTD, own, deterministic)
    x_BTD, cross_extra = self.cross_attention_norm(x_BTD, cross, deterministic)
    x_BTD, _ = self.feed_forward_norm(x_BTD, feed_forward, deterministic)
    return x_BTD, (own_extra, cross_extra)


class Decoder(nn.Module):
  """N identical layers."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    layer = layer_class(DecoderLayer, self.config, static_argnums=(5, 6))
    self.layer = [layer(self.config, self.dtype) for _ in range(self.config.num_layers)]
    self.final_norm = final_norm(self.config, self.dtype)

  def __call__(
    self,
    x_BTD: Float[Array, "B T D"],
    memory_BSD: Float[Array, "B S D"],
    own_mask: Mask,
    memory_mask: Mask,
    deterministic: bool = True,
    return_weights: bool = False,
    gates: HeadGates | None = None,
  ) -> tuple[Float[Array, "B T D"], list[LayerWeights]]:
    """Returns (outputs, the attention weights of each layer or Nones)."""
    weights = []
    for layer, layer_gates in zip(self.layer, self._gates(gates), strict=True):
      x_BTD, layer_weights = layer(
        x_BTD, memory_BSD, own_mask, memory_mask, deterministic, return_weights, layer_gates
      )
      weights.append(layer_weights)
    return self._finish(x_BTD), weights

  def project_memory(
    self, memory_BSD: Float[Array, "B S D"], lengths_B: Int32[Array, " B"]
  ) -> Memory:
    """Returns each layer's cross-attention keys and values, computed once per sentence."""
    layers = tuple(layer.cross_attention.keys_and_values(memory_BSD) for layer in self.layer)
    return Memory(layers, lengths_B)

  def step(
    self,
    x_BMD: Float[Array, "B M D"],
    position: Position,
    cache: Cache,
    memory: Memory,
    gates: HeadGates | None = None,
  ) -> tuple[Float[Array, "B M D"], Cache]:
    """Returns (outputs, cache) for one position of M hypotheses per sentence."""
    cache = cache.claim(position)
    own_mask = cache.mask()
    source_mask = memory.mask
    layers = []
    for layer, own, source, layer_gates in zip(
      self.layer, cache.layers, memory.layers, self._gates(gates), strict=True
    ):
      x_BMD, written = layer.step(x_BMD, position, own, own_mask, source, source_mask, layer_gates)
      layers.append(written)
    return self._finish(x_BMD), cache.replace(layers=tuple(layers))

  def _gates(self, gates: HeadGates | None) -> list[LayerGates]:
    """Returns each layer's gates."""
    num_layers = len(self.layer)
    if gates is None:
      return [LayerGates(None, None)] * num_layers
    own = per_layer(gates.decoder, num_layers)
    cross = per_layer(gates.cross, num_layers)
    return [LayerGates(*both) for both in zip(own, cross, strict=True)]

  def _finish(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Returns the stack's output: normalized once more if the layers are pre-norm."""
    if self.final_norm is None:
      return x_BTD
    return self.final_norm(x_BTD)
