"""Sub-layers, layers and stacks (Sections 3.1 to 3.3), for one sentence; parameters as the model's tree names them."""

import numpy as np

from transformer_jax.reference.attention import causal, multi_head_attention

LAYER_NORM_EPSILON = 1e-6


def layer_norm(x_TD, parameters):
  """Each position to mean 0 and variance 1 over D, then times scale plus bias (Section 3.1)."""
  result_TD = np.zeros(x_TD.shape)
  for t, x_D in enumerate(x_TD):
    mean, variance = np.mean(x_D), np.mean((x_D - np.mean(x_D)) ** 2)
    result_TD[t] = (x_D - mean) / np.sqrt(variance + LAYER_NORM_EPSILON) * parameters[
      "scale"
    ] + parameters["bias"]
  return result_TD


def feed_forward(x_TD, parameters):
  """FFN(x) = max(0, x W1 + b1) W2 + b2, each position by itself (equation 2)."""
  inner, outer = parameters["inner"], parameters["outer"]
  return np.stack(
    [
      np.maximum(0.0, x_D @ inner["kernel"] + inner["bias"]) @ outer["kernel"] + outer["bias"]
      for x_D in x_TD
    ]
  )


def attend(inputs_TD, memory_SD, parameters, allowed_TS=None):
  """`multi_head_attention` with kernels [D, H, K], [D, H, K], [D, H, V] and [H, V, D]."""
  by_head = [np.moveaxis(parameters[name]["kernel"], 1, 0) for name in ("query", "key", "value")]
  return multi_head_attention(
    inputs_TD, memory_SD, *by_head, parameters["out"]["kernel"], allowed_TS
  )


def residual(x_TD, sublayer, norm_parameters, norm):
  """LayerNorm(x + Sublayer(x)) for norm "post", the paper's; x + Sublayer(LayerNorm(x)) for "pre" (Section 3.1)."""
  if norm == "pre":
    return x_TD + sublayer(layer_norm(x_TD, norm_parameters))
  return layer_norm(x_TD + sublayer(x_TD), norm_parameters)


def encoder_layer(x_SD, parameters, source_allowed_S, norm="post"):
  """Self-attention, then the feed-forward network (Section 3.1); `source_allowed_S` is False at padding."""
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


def decoder_layer(x_TD, memory_SD, parameters, source_allowed_S, norm="post"):
  """Masked self-attention, attention over the encoder's output, the feed-forward network (Section 3.1)."""
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


def encoder(x_SD, parameters, source_allowed_S, norm="post"):
  """N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_SD = encoder_layer(x_SD, layer, source_allowed_S, norm)
  return layer_norm(x_SD, parameters["final_norm"]) if norm == "pre" else x_SD


def decoder(x_TD, memory_SD, parameters, source_allowed_S, norm="post"):
  """N layers; a pre-norm stack ends with one more LayerNorm."""
  for layer in _layers(parameters):
    x_TD = decoder_layer(x_TD, memory_SD, layer, source_allowed_S, norm)
  return layer_norm(x_TD, parameters["final_norm"]) if norm == "pre" else x_TD


def _layers(parameters):
  """The layers' parameters in order: layer_0, layer_1, ..."""
  count = sum(name.startswith("layer_") for name in parameters)
  return [parameters[f"layer_{i}"] for i in range(count)]
