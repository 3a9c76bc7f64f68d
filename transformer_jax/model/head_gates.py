"""Gates: a factor for each head's output, given at run time, to measure how much it matters."""

import operator
import typing
from collections.abc import Iterable
from typing import NamedTuple

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from transformer_jax.config import ModelConfig

# The three attentions, fields of HeadGates, and their titles.
ATTENTIONS = dict(encoder="encoder", decoder="decoder", cross="decoder to encoder")


@typing.no_type_check  # see attention/masks.py
class HeadGates(flax.struct.PyTreeNode):
  """The gates of all heads: each head's output is multiplied by its gate before W^O.

  1 leaves the head as it is, 0 removes it from the model. A gate may differ from sentence to
  sentence: [N, B, H] in place of [N, H]. Gradients with respect to gates are the heads' importance
  (Michel et al. 2019).

  Attributes:
    encoder: self-attention of the encoder.
    decoder: self-attention of the decoder.
    cross: attention over the encoder's output.

  Example:
    gates = HeadGates.open(config)
    gates = gates.replace(cross=gates.cross.at[layer, head].set(0.0))
    model.apply(variables, source_BS, target_BT, gates=gates)
  """

  encoder: Float[Array, "N *B H"]
  decoder: Float[Array, "N *B H"]
  cross: Float[Array, "N *B H"]

  @classmethod
  def open(cls, config: ModelConfig) -> "HeadGates":
    """Returns gates that are all 1."""
    gates_NH = jnp.ones((config.num_layers, config.num_heads), jnp.float32)
    return cls(gates_NH, gates_NH, gates_NH)

  def without(self, heads: Iterable[tuple[str, int, int]]) -> "HeadGates":
    """Returns the gates with these heads closed, at 0.

    Args:
      heads: (attention, layer, head): "encoder", "decoder" or "cross", and numbers from 0.

    Raises:
      ValueError: there is no such head.

    Example:
      HeadGates.open(config).without([("cross", 0, 3), ("encoder", 1, 0)])
    """
    gates = dict(vars(self))
    for head in heads:
      if isinstance(head, str) or len(head) != 3:
        raise ValueError(f"{head!r} is no head: give a list of (attention, layer, head)")
      attention, layer, number = head[0], operator.index(head[1]), operator.index(head[2])
      if attention not in ATTENTIONS:
        raise ValueError(f"'{attention}' is no attention: choose from {', '.join(ATTENTIONS)}")
      num_layers, num_heads = gates[attention].shape[0], gates[attention].shape[-1]
      if not (0 <= layer < num_layers and 0 <= number < num_heads):
        raise ValueError(
          f"there is no head {number} in layer {layer}: the {attention} attention has {num_layers} "
          f"layers of {num_heads} heads, counted from 0"
        )
      gates[attention] = gates[attention].at[layer, ..., number].set(0.0)
    return HeadGates(**gates)


class LayerGates(NamedTuple):
  """The gates of one decoder layer, [H] or [B, H]; None multiplies nothing."""

  own_H: Float[Array, "*B H"] | None  # self-attention
  cross_H: Float[Array, "*B H"] | None  # attention over the encoder's output


def per_layer(
  gates_NH: Float[Array, "N *B H"] | None, num_layers: int
) -> list[Float[Array, "*B H"] | None]:
  """Returns each layer's gates, or a None for each layer."""
  if gates_NH is None:
    return [None] * num_layers
  return [gates_NH[layer] for layer in range(num_layers)]
