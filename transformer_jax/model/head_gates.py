"""A factor for the output of every head, passed in at run time: what a head is worth is seen by closing its gate."""

import typing

import flax.struct
import jax
import jax.numpy as jnp

# The three attentions, fields of HeadGates, and their titles.
ATTENTIONS = dict(encoder="encoder", decoder="decoder", cross="decoder to encoder")


@typing.no_type_check  # see attention/masks.py
class HeadGates(flax.struct.PyTreeNode):
  """Each head's output is multiplied by its gate before W^O: 1 leaves it as it is, 0 takes the head out of the model.

  A gate may differ from sentence to sentence: [N, B, H] in place of [N, H]. Gradients with respect to gates are the
  heads' importance (Michel et al. 2019).
  """

  encoder: jax.Array  # [N, H], self-attention of the encoder
  decoder: jax.Array  # [N, H], self-attention of the decoder
  cross: jax.Array  # [N, H], attention over the encoder's output

  @classmethod
  def open(cls, config):
    """All gates at 1."""
    gates_NH = jnp.ones((config.num_layers, config.num_heads), jnp.float32)
    return cls(gates_NH, gates_NH, gates_NH)


def per_layer(gates_NH, num_layers):
  """The gates of each layer, or None for each where there are none."""
  return (
    [None] * num_layers if gates_NH is None else [gates_NH[layer] for layer in range(num_layers)]
  )
