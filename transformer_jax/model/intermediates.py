"""Attention inside the model: the weights, and the queries, keys and values.

The names of the model's modules are known here, so that the floors above need not know them.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.config import ModelConfig
from transformer_jax.model.embedding import AnyArray
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer

VECTORS = ("query", "key", "value")  # the projections of MultiHeadAttention

# The three attentions, as in HeadGates: (stack, module of each of its layers).
_MODULES = dict(
  encoder=("encoder", "self_attention"),
  decoder=("decoder", "self_attention"),
  cross=("decoder", "cross_attention"),
)

Weights = dict[str, Float32[Array, "N B H _ _"]]
Vectors = dict[str, dict[str, Float32[Array, "N B H _ _"]]]


def attention_weights_and_vectors(
  model: Transformer,
  params: Mapping[str, Any],
  source_BS: Int32[AnyArray, "B S"],
  target_BT: Int32[AnyArray, "B T"],
  gates: HeadGates | None = None,
) -> tuple[Weights, Vectors]:
  """Returns the attention weights for a forced target, and the queries, keys and values.

  Args:
    model: the Transformer.
    params: its parameters.
    source_BS: source tokens.
    target_BT: target tokens. Row t of the decoder's and the cross weights predicts target t.
    gates: factors of the heads' outputs.

  Returns:
    (weights, vectors), float32, both by attention: "encoder", "decoder" and "cross". Weights are
    [N, B, H, S, S], [N, B, H, T, T] and [N, B, H, T, S]. Vectors are dicts of "query", "key" and
    "value", [N, B, H, positions, K or V].

  Example:
    weights, vectors = attention_weights_and_vectors(model, params, source_BS, target_BT)
    weights["cross"][layer, 0, head]  # [T, S]
    vectors["cross"]["query"][layer, 0, head]  # [T, K]
  """
  weights, state = model.apply(
    {"params": params},
    source_BS,
    target_BT,
    gates=gates,
    method="attention_weights",
    capture_intermediates=lambda module, _: module.name in VECTORS,
    mutable=["intermediates"],
  )
  vectors = {name: _vectors(state["intermediates"], name) for name in _MODULES}
  return weights, vectors


def longer_queries(params: Any, config: ModelConfig) -> Any:
  """Returns the parameters with which each head attends without dividing by sqrt(d_k).

  The projections to queries, biases included, are multiplied by it; the rest is shared.
  """
  flat: Any = flatten_dict(params)
  query = VECTORS[0]
  scaled = {
    path: array * math.sqrt(config.d_k) if path[-2] == query else array
    for path, array in flat.items()
  }
  return unflatten_dict(scaled)


def _vectors(
  intermediates: Mapping[str, Any], attention: str
) -> dict[str, Float32[Array, "N B H _ _"]]:
  """Returns the queries, keys and values of one attention, over all layers, by name."""
  stack, module = _MODULES[attention]
  num_layers = len(intermediates[stack])
  layers = [intermediates[stack][f"layer_{number}"][module] for number in range(num_layers)]
  return {kind: jnp.stack([_by_head(layer[kind]) for layer in layers]) for kind in VECTORS}


def _by_head(captured: Mapping[str, Any]) -> Float32[Array, "B H _ _"]:
  """Returns a projection's output with its heads before its positions."""
  output_BTHK: Float[Array, "B T H K"] = captured["__call__"][0]
  return output_BTHK.astype(jnp.float32).swapaxes(1, 2)
