"""The decoder stack (Section 3.1), over a whole target at once or one position at a time."""

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.config import ModelConfig
from transformer_jax.model.cache import Memory, write
from transformer_jax.model.feed_forward import FeedForward
from transformer_jax.model.head_gates import per_layer
from transformer_jax.model.multi_head_attention import MultiHeadAttention
from transformer_jax.model.sublayer import AddAndNorm, final_norm, layer_class


class DecoderLayer(nn.Module):
  """Masked self-attention, attention over the encoder's output, then the feed-forward network."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    self.self_attention = MultiHeadAttention(self.config, self.dtype)
    self.self_attention_norm = AddAndNorm(self.dtype, config=self.config)
    self.cross_attention = MultiHeadAttention(self.config, self.dtype)
    self.cross_attention_norm = AddAndNorm(self.dtype, config=self.config)
    self.feed_forward = FeedForward(self.config, self.dtype)
    self.feed_forward_norm = AddAndNorm(self.dtype, config=self.config)

  def __call__(
    self,
    inputs_BTD,
    memory_BSD,
    self_mask,
    memory_mask,
    deterministic,
    return_weights,
    gates_H,
    cross_gates_H,
  ):
    """Returns ([B, T, D], (self-attention weights, cross-attention weights) or Nones)."""
    return self._sublayers(
      inputs_BTD,
      deterministic,
      lambda x: self.self_attention(x, x, self_mask, deterministic, return_weights, gates_H),
      lambda x: self.cross_attention(
        x, memory_BSD, memory_mask, deterministic, return_weights, cross_gates_H
      ),
    )

  def step(
    self,
    inputs_BMD,
    keys_BHSK,
    values_BHSV,
    cache_mask,
    position,
    memory_keys,
    memory_values,
    memory_mask,
    gates_H,
    cross_gates_H,
  ):
    """One position of M hypotheses; returns ([B, M, D], keys and values with this position's written in)."""

    def self_attention(x_BMD):
      new_key_BHMK, new_value_BHMV = self.self_attention.keys_and_values(x_BMD)
      keys, values = (
        write(keys_BHSK, new_key_BHMK, position),
        write(values_BHSV, new_value_BHMV, position),
      )
      return self.self_attention.attend_cached(x_BMD, keys, values, cache_mask, gates_H), (
        keys,
        values,
      )

    def cross_attention(x_BMD):
      return self.cross_attention.attend_cached(
        x_BMD, memory_keys, memory_values, memory_mask, cross_gates_H
      ), None

    x_BMD, (written, _) = self._sublayers(inputs_BMD, True, self_attention, cross_attention)
    return x_BMD, written

  def _sublayers(self, x, deterministic, self_attention, cross_attention):
    x, self_extra = self.self_attention_norm(x, self_attention, deterministic)
    x, cross_extra = self.cross_attention_norm(x, cross_attention, deterministic)
    x, _ = self.feed_forward_norm(
      x, lambda y: (self.feed_forward(y, deterministic), None), deterministic
    )
    return x, (self_extra, cross_extra)


class Decoder(nn.Module):
  """N identical layers."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    layer = layer_class(DecoderLayer, self.config, static_argnums=(5, 6))
    self.layer = [layer(self.config, self.dtype) for _ in range(self.config.num_layers)]
    self.final_norm = final_norm(self.config, self.dtype)

  def __call__(
    self,
    x_BTD,
    memory_BSD,
    self_mask,
    memory_mask,
    deterministic=True,
    return_weights=False,
    gates=None,
  ):
    """Returns ([B, T, D], a layer's (self, cross) attention weights for each layer, or Nones)."""
    weights = []
    for layer, layer_gates in zip(self.layer, self._gates(gates), strict=True):
      x_BTD, layer_weights = layer(
        x_BTD, memory_BSD, self_mask, memory_mask, deterministic, return_weights, *layer_gates
      )
      weights.append(layer_weights)
    return self._finish(x_BTD), weights

  def project_memory(self, memory_BSD, lengths_B):
    """Every layer's cross-attention keys and values, once per sentence."""
    pairs = [layer.cross_attention.keys_and_values(memory_BSD) for layer in self.layer]
    return Memory(
      keys=tuple(k for k, _ in pairs), values=tuple(v for _, v in pairs), lengths_B=lengths_B
    )

  def step(self, x_BMD, position, cache, memory, gates=None):
    """One position of M hypotheses a sentence; returns ([B, M, D], cache)."""
    cache = cache.claim(position)
    cache_mask, memory_mask = cache.mask(), memory.mask
    written = []
    for layer, *room, memory_keys, memory_values, layer_gates in zip(
      self.layer,
      cache.keys,
      cache.values,
      memory.keys,
      memory.values,
      self._gates(gates),
      strict=True,
    ):
      x_BMD, layer_written = layer.step(
        x_BMD, *room, cache_mask, position, memory_keys, memory_values, memory_mask, *layer_gates
      )
      written.append(layer_written)
    cache = cache.replace(keys=tuple(k for k, _ in written), values=tuple(v for _, v in written))
    return self._finish(x_BMD), cache

  def _gates(self, gates):
    """A layer's (gates of its self-attention, gates of its attention to the memory), for each layer."""
    both = (None, None) if gates is None else (gates.decoder, gates.cross)
    return list(zip(*(per_layer(gates_NH, len(self.layer)) for gates_NH in both), strict=True))

  def _finish(self, x):
    return self.final_norm(x) if self.final_norm else x
