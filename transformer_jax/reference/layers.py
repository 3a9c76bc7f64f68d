"""Sub-layers, layers and stacks (Sections 3.1 to 3.3), for one sentence.

Parameters are named as in the model's tree.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from transformer_jax.reference.attention import causal, multi_head_attention

LAYER_NORM_EPSILON = 1e-6

Parameters = Mapping[str, Any]  # nested mappings of arrays


class Choices(NamedTuple):
  """What a layer computes; the defaults are the paper's."""

  norm: str = "post"
  activation: str = "relu"
  layer_norm_epsilon: float = LAYER_NORM_EPSILON


PAPER = Choices()


def layer_norm(
  x_TD: np.ndarray, parameters: Parameters, epsilon: float = LAYER_NORM_EPSILON
) -> np.ndarray:
  """Returns each position at mean 0 and variance 1 over D, times scale plus bias (Section 3.1)."""
  result_TD = np.zeros(x_TD.shape)
  for t, x_D in enumerate(x_TD):
    mean = np.mean(x_D)
    variance = np.mean((x_D - mean) ** 2)
    normal_D = (x_D - mean) / np.sqrt(variance + epsilon)
    result_TD[t] = normal_D * parameters["scale"] + parameters["bias"]
  return result_TD


def activate(x: float, activation: str) -> float:
  """Returns max(0, x) for "relu", the paper's; x sigmoid(x) for "swish"; x Phi(x) for "gelu"."""
  if activation == "relu":
    return max(0.0, x)
  if activation == "swish":
    return x / (1 + math.exp(-x))
  if activation == "gelu":
    return x * (1 + math.erf(x / math.sqrt(2))) / 2
  raise ValueError(f"activation={activation!r} is not known")


def feed_forward(x_TD: np.ndarray, parameters: Parameters, activation: str = "relu") -> np.ndarray:
  """Returns FFN(x) = max(0, x W1 + b1) W2 + b2, each position by itself (equation 2)."""
  inner, outer = parameters["inner"], parameters["outer"]
  outputs = []
  for x_D in x_TD:
    before_F = x_D @ inner["kernel"] + inner["bias"]
    hidden_F = np.array([activate(x, activation) for x in before_F])
    outputs.append(hidden_F @ outer["kernel"] + outer["bias"])
  return np.stack(outputs)


def attend(
  inputs_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  allowed_TS: np.ndarray | None = None,
) -> np.ndarray:
  """Returns `multi_head_attention` with kernels [D, H, K], [D, H, K], [D, H, V] and [H, V, D].

  Where there are biases, [H, K], [H, K], [H, V] and [D], they are added to the products.
  """
  query_HDK, key_HDK, value_HDV = (
    np.moveaxis(parameters[name]["kernel"], 1, 0) for name in ("query", "key", "value")
  )
  biases = tuple(parameters[name].get("bias") for name in ("query", "key", "value", "out"))
  out_HVD = parameters["out"]["kernel"]
  return multi_head_attention(
    inputs_TD, memory_SD, query_HDK, key_HDK, value_HDV, out_HVD, allowed_TS, biases
  )


def residual(
  x_TD: np.ndarray,
  sublayer: Callable[[np.ndarray], np.ndarray],
  norm_parameters: Parameters,
  choices: Choices = PAPER,
) -> np.ndarray:
  """Returns the sub-layer's output with its residual connection and LayerNorm (Section 3.1).

  For norm "post", the paper's, this is LayerNorm(x + Sublayer(x)). For "pre" it is
  x + Sublayer(LayerNorm(x)).
  """
  epsilon = choices.layer_norm_epsilon
  if choices.norm == "pre":
    return x_TD + sublayer(layer_norm(x_TD, norm_parameters, epsilon))
  return layer_norm(x_TD + sublayer(x_TD), norm_parameters, epsilon)


def encoder_layer(
  x_SD: np.ndarray, parameters: Parameters, source_allowed_S: np.ndarray, choices: Choices = PAPER
) -> np.ndarray:
  """Applies self-attention, then the feed-forward network (Section 3.1).

  `source_allowed_S` is False at padding.
  """
  allowed_SS = np.tile(source_allowed_S, (len(x_SD), 1))
  x_SD = residual(
    x_SD,
    lambda x: attend(x, x, parameters["self_attention"], allowed_SS),
    parameters["self_attention_norm"],
    choices,
  )
  return residual(
    x_SD,
    lambda x: feed_forward(x, parameters["feed_forward"], choices.activation),
    parameters["feed_forward_norm"],
    choices,
  )


def decoder_layer(
  x_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  source_allowed_S: np.ndarray,
  choices: Choices = PAPER,
) -> np.ndarray:
  """Applies masked self-attention, attention over the memory, then the FFN (Section 3.1)."""
  length = len(x_TD)
  allowed_TS = np.tile(source_allowed_S, (length, 1))
  x_TD = residual(
    x_TD,
    lambda x: attend(x, x, parameters["self_attention"], causal(length)),
    parameters["self_attention_norm"],
    choices,
  )
  x_TD = residual(
    x_TD,
    lambda x: attend(x, memory_SD, parameters["cross_attention"], allowed_TS),
    parameters["cross_attention_norm"],
    choices,
  )
  return residual(
    x_TD,
    lambda x: feed_forward(x, parameters["feed_forward"], choices.activation),
    parameters["feed_forward_norm"],
    choices,
  )


def encoder(
  x_SD: np.ndarray, parameters: Parameters, source_allowed_S: np.ndarray, choices: Choices = PAPER
) -> np.ndarray:
  """Applies N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_SD = encoder_layer(x_SD, layer, source_allowed_S, choices)
  return _final_norm(x_SD, parameters, choices)


def decoder(
  x_TD: np.ndarray,
  memory_SD: np.ndarray,
  parameters: Parameters,
  source_allowed_S: np.ndarray,
  choices: Choices = PAPER,
) -> np.ndarray:
  """Applies N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_TD = decoder_layer(x_TD, memory_SD, layer, source_allowed_S, choices)
  return _final_norm(x_TD, parameters, choices)


def _final_norm(x_TD: np.ndarray, parameters: Parameters, choices: Choices) -> np.ndarray:
  """Returns a stack's output, for norm "pre" normalized once more."""
  if choices.norm == "pre":
    return layer_norm(x_TD, parameters["final_norm"], choices.layer_norm_epsilon)
  return x_TD


def _layers(parameters: Parameters) -> list[Parameters]:
  """Returns the layers' parameters in order: layer_0, layer_1, ..."""
  count = sum(name.startswith("layer_") for name in parameters)
  return [parameters[f"layer_{i}"] for i in range(count)]
