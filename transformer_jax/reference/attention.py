"""Attention (Section 3.2), one query at a time, and its gradients, one pair at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np


def softmax(scores_S: np.ndarray) -> np.ndarray:
  """Returns exp(x_i) / sum_j exp(x_j), [S].

  -inf gives 0. If all are -inf, the distribution is uniform.
  """
  if np.all(np.isneginf(scores_S)):
    return np.full(len(scores_S), 1 / len(scores_S))
  powers_S = np.exp(scores_S - np.max(scores_S))
  return powers_S / np.sum(powers_S)


def attention_weights(
  query_TK: np.ndarray, key_SK: np.ndarray, allowed_TS: np.ndarray | None = None
) -> np.ndarray:
  """Returns softmax(Q K^T / sqrt(d_k)), [T, S].

  These are Scale, Mask and SoftMax of Figure 2, in this order (Section 3.2.1). `allowed_TS` is
  bool, True = may attend; None allows everything. A row that allows nothing gets uniform weights.
  """
  d_k = query_TK.shape[1]
  weights_TS = np.zeros((len(query_TK), len(key_SK)))
  for t, query_K in enumerate(query_TK):
    scores_S = np.array([np.dot(query_K, key_K) for key_K in key_SK]) / math.sqrt(d_k)
    if allowed_TS is not None:
      scores_S[~allowed_TS[t]] = -np.inf
    weights_TS[t] = softmax(scores_S)
  return weights_TS


def attention(
  query_TK: np.ndarray,
  key_SK: np.ndarray,
  value_SV: np.ndarray,
  allowed_TS: np.ndarray | None = None,
) -> np.ndarray:
  """Returns Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V, [T, V] (equation 1)."""
  weights_TS = attention_weights(query_TK, key_SK, allowed_TS)
  output_TV = np.zeros((len(query_TK), value_SV.shape[1]))
  for t in range(len(query_TK)):
    for s in range(len(value_SV)):
      output_TV[t] += weights_TS[t, s] * value_SV[s]
  return output_TV


def multi_head_attention(
  inputs_TD: np.ndarray,
  memory_SD: np.ndarray,
  w_query_HDK: np.ndarray,
  w_key_HDK: np.ndarray,
  w_value_HDV: np.ndarray,
  w_out_HVD: np.ndarray,
  allowed_TS: np.ndarray | None = None,
  biases: Sequence[np.ndarray | None] = (None, None, None, None),
) -> np.ndarray:
  """Returns MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O, [T, D] (Section 3.2.2).

  Queries are from `inputs_TD`, keys and values from `memory_SD`, which in self-attention is the
  same array (Section 3.2.3). `w_out_HVD` is W^O with its (h d_v) rows grouped by head. `biases` are
  added to queries [H, K], keys [H, K], values [H, V] and output [D]; the paper has none.
  """
  query_bias_HK, key_bias_HK, value_bias_HV, out_bias_D = (
    0.0 if bias is None else bias for bias in biases
  )
  heads = []
  for h in range(len(w_query_HDK)):
    query_TK = inputs_TD @ w_query_HDK[h] + _row(query_bias_HK, h)
    key_SK = memory_SD @ w_key_HDK[h] + _row(key_bias_HK, h)
    value_SV = memory_SD @ w_value_HDV[h] + _row(value_bias_HV, h)
    heads.append(attention(query_TK, key_SK, value_SV, allowed_TS))
  w_out_XD = w_out_HVD.reshape(-1, w_out_HVD.shape[-1])  # X = H * V
  return np.concatenate(heads, axis=1) @ w_out_XD + out_bias_D


def _row(bias: np.ndarray | float, h: int) -> np.ndarray | float:
  """Returns head h's bias."""
  return bias[h] if isinstance(bias, np.ndarray) else bias


def causal(length: int) -> np.ndarray:
  """Returns a mask, bool [T, T], in which position t may attend up to t (Section 3.2.3)."""
  return np.array([[s <= t for s in range(length)] for t in range(length)], bool)


def attention_gradients(
  query_TK: np.ndarray,
  key_SK: np.ndarray,
  value_SV: np.ndarray,
  output_gradient_TV: np.ndarray,
  allowed_TS: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the gradients of sum(attention * output_gradient) by query, key and value.

  A query that may attend nowhere has constant weights, so no gradient reaches its scores.
  """
  d_k = query_TK.shape[1]
  weights_TS = attention_weights(query_TK, key_SK, allowed_TS)
  query_gradient_TK = np.zeros(query_TK.shape)
  key_gradient_SK = np.zeros(key_SK.shape)
  value_gradient_SV = np.zeros(value_SV.shape)
  for t, weights_S in enumerate(weights_TS):
    weight_gradient_S = np.array([np.dot(output_gradient_TV[t], value_V) for value_V in value_SV])
    # d softmax_i / d score_j = softmax_i (1[i = j] - softmax_j)
    score_gradient_S = weights_S * (weight_gradient_S - np.dot(weights_S, weight_gradient_S))
    if allowed_TS is not None:
      score_gradient_S[~allowed_TS[t]] = 0.0
    for s in range(len(key_SK)):
      value_gradient_SV[s] += weights_S[s] * output_gradient_TV[t]
      query_gradient_TK[t] += score_gradient_S[s] * key_SK[s] / math.sqrt(d_k)
      key_gradient_SK[s] += score_gradient_S[s] * query_TK[t] / math.sqrt(d_k)
  return query_gradient_TK, key_gradient_SK, value_gradient_SV


def finite_differences(
  function: Callable[[np.ndarray], float], array: np.ndarray, step: float = 1e-6
) -> np.ndarray:
  """Returns the gradient of a scalar `function` at `array`, float64.

  It takes central differences, one element at a time.
  """
  array = np.array(array, np.float64)
  gradient = np.zeros(array.shape)
  for index in np.ndindex(*array.shape):
    middle = array[index]
    array[index] = middle + step
    above = function(array)
    array[index] = middle - step
    below = function(array)
    array[index] = middle
    gradient[index] = (above - below) / (2 * step)
  return gradient
