"""Sub-layers, layers and stacks (Sections 3.1 to 3.3), for one sentence.

Parameters are named as in the model's tree.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transformer_jax.reference.attention import causal, multi_head_attention

LAYER_NORM_EPSILON = 1e-6

Parameters = Mapping[str, Any]  # nested mappings of arrays


def layer_norm(x_TD: np.ndarray, parameters: Parameters) -> np.ndarray:
  """Returns each position at mean 0 and variance 1 over D, times scale plus bias (Section 3.1)."""
  result_TD = np.zeros(x_TD.shape)
  for t, x_D in enumerate(x_TD):
    mean = np.mean(x_D)
    variance = np.mean((x_D - mean) ** 2)
    normal_D = (x_D - mean) / np.sqrt(variance + LAYER_NORM_EPSILON)
    result_TD[t] = normal_D * parameters["scale"] + parameters["bias"]
  return result_TD


def feed_forward(x_TD: np.ndarray, parameters: Parameters) -> np.ndarray:
  """Returns FFN(x) = max(0, x W1 + b1) W2 + b2, each position by itself (equation 2)."""
  inner, outer = parameters["inner"], parameters["outer"]
  outputs = []
  for x_D in x_TD:
    hidden_F = np.maximum(0.0, x_D @ inner["kernel"] + inner["bias"])
    outputs.append(hidden_F @ outer["kernel"] + outer["bias"])
  return np.stack(outputs)


def attend(
  inputs_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  allowed_TS: np.ndarray | None = None,
) -> np.ndarray:
  """Returns `multi_head_attention` with kernels [D, H, K], [D, H, K], [D, H, V] and [H, V, D]."""
  query_HDK, key_HDK, value_HDV = (
    np.moveaxis(parameters[name]["kernel"], 1, 0) for name in ("query", "key", "value")
  )
  out_HVD = parameters["out"]["kernel"]
  return multi_head_attention(
    inputs_TD, memory_SD, query_HDK, key_HDK, value_HDV, out_HVD, allowed_TS
  )


def residual(
  x_TD: np.ndarray,
  sublayer: Callable[[np.ndarray], np.ndarray],
  norm_parameters: Parameters,
  norm: str,
) -> np.ndarray:
  """Returns the sub-layer's output with its residual connection and LayerNorm (Section 3.1).

  For norm "post", the paper's, this is LayerNorm(x + Sublayer(x)). For "pre" it is
  x + Sublayer(LayerNorm(x)).
  """
  if norm == "pre":
    return x_TD + sublayer(layer_norm(x_TD, norm_parameters))
  return layer_norm(x_TD + sublayer(x_TD), norm_parameters)


def encoder_layer(
  x_SD: np.ndarray, parameters: Parameters, source_allowed_S: np.ndarray, norm: str = "post"
) -> np.ndarray:
  """Applies self-attention, then the feed-forward network (Section 3.1).

  `source_allowed_S` is False at padding.
  """
  allowed_SS = np.tile(source_allowed_S, (len(x_SD), 1))
  x_SD = residual(
    x_SD,
    lambda x: attend(x, x, parameters["self_attention"], allowed_SS),
    parameters["self_attention_norm"],
    norm,
  )
  return residual(
    x_SD,
    lambda x: feed_forward(x, parameters["feed_forward"]),
    parameters["feed_forward_norm"],
    norm,
  )


def decoder_layer(
  x_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  source_allowed_S: np.ndarray,
  norm: str = "post",
) -> np.ndarray:
  """Applies masked self-attention, attention over the memory, then the FFN (Section 3.1)."""
  length = len(x_TD)
  allowed_TS = np.tile(source_allowed_S, (length, 1))
  x_TD = residual(
    x_TD,
    lambda x: attend(x, x, parameters["self_attention"], causal(length)),
    parameters["self_attention_norm"],
    norm,
  )
  x_TD = residual(
    x_TD,
    lambda x: attend(x, memory_SD, parameters["cross_attention"], allowed_TS),
    parameters["cross_attention_norm"],
    norm,
  )
  return residual(
    x_TD,
    lambda x: feed_forward(x, parameters["feed_forward"]),
    parameters["feed_forward_norm"],
    norm,
  )


def encoder(
  x_SD: np.ndarray, parameters: Parameters, source_allowed_S: np.ndarray, norm: str = "post"
) -> np.ndarray:
  """Applies N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_SD = encoder_layer(x_SD, layer, source_allowed_S, norm)
  return layer_norm(x_SD, parameters["final_norm"]) if norm == "pre" else x_SD


def decoder(
  x_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  source_allowed_S: np.ndarray,
  norm: str = "post",
) -> np.ndarray:
  """Applies N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_TD = decoder_layer(x_TD, memory_SD, layer, source_allowed_S, norm)
  return layer_norm(x_TD, parameters["final_norm"]) if norm == "pre" else x_TD


def _layers(parameters: Parameters) -> list[Parameters]:
  """Returns the layers' parameters in order: layer_0, layer_1, ..."""
  count = sum(name.startswith("layer_") for name in parameters)
  return [parameters[f"layer_{i}"] for i in range(count)]
