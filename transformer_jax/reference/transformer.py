"""The whole Transformer (Figure 1) for one sentence pair, from the model's parameters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transformer_jax.reference.layers import LAYER_NORM_EPSILON, Choices, decoder, encoder
from transformer_jax.reference.positions import (
  concatenated_positional_encoding,
  positional_encoding,
)

PAD_ID = 0  # config.PAD_ID; this floor imports nothing


def transformer(
  params: Mapping[str, Any],
  source_S: Sequence[int] | np.ndarray,
  target_T: Sequence[int] | np.ndarray,
  positions: str = "sinusoidal",
  norm: str = "post",
  activation: str = "relu",
  layer_norm_epsilon: float = LAYER_NORM_EPSILON,
  word_marks: tuple[bytes, bytes] = (b"", b""),
) -> np.ndarray:
  """Returns the logits of each target token given the source and the targets before it, [T, C].

  Args:
    params: nested dict of arrays, the tree that the model's `init` returns under "params".
    source_S: token ids; PAD may follow the sentence and is attended to by nothing.
    target_T: token ids to be predicted; the decoder sees them shifted right by one, PAD first.
    positions: sinusoidal, sinusoidal_concatenated, learned, none or words.
    norm: post (the paper) or pre.
    activation: relu (the paper), swish or gelu.
    layer_norm_epsilon: what LayerNorm adds to the variance.
    word_marks: for positions="words", of source and target: for each token of the vocabulary a
      byte, 1 if it counts as a word.
  """
  choices = Choices(norm, activation, layer_norm_epsilon)
  params = _float64(params)
  source_S, target_T = np.asarray(source_S), np.asarray(target_T)
  source_allowed_S = source_S != PAD_ID
  source_table, target_table, output_DC = embedding_tables(params)
  source_marks, target_marks = word_marks
  x_SD = embed(source_S, source_table) + position_table(
    params, "source_positions", positions, source_S, source_table, source_marks
  )
  memory_SD = encoder(x_SD, params["encoder"], source_allowed_S, choices)
  shifted_T = np.concatenate([[PAD_ID], target_T[:-1]])
  x_TD = embed(shifted_T, target_table) + position_table(
    params, "target_positions", positions, shifted_T, target_table, target_marks
  )
  outputs_TD = decoder(x_TD, memory_SD, params["decoder"], source_allowed_S, choices)
  return outputs_TD @ output_DC + params.get("output_bias", 0.0)


def embed(tokens_T: np.ndarray, table_CD: np.ndarray) -> np.ndarray:
  """Returns rows of the table times sqrt(d_model), [T, D] (Section 3.4); PAD is the zero vector."""
  d_model = table_CD.shape[1]
  vectors_TD = np.zeros((len(tokens_T), d_model))
  for t, token in enumerate(tokens_T):
    if token != PAD_ID:
      vectors_TD[t] = table_CD[token] * math.sqrt(d_model)
  return vectors_TD


def embedding_tables(params: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the matrices (source [C, D], target [C, D], output [D, C]), without scale or bias.

  They are one matrix where it is shared (Section 3.4).
  """
  if "shared_embedding" in params:
    shared_CD = params["shared_embedding"]["embedding"]
    return shared_CD, shared_CD, shared_CD.T
  source_CD = params["source_embedding"]["embedding"]
  target_CD = params["target_embedding"]["embedding"]
  if "output_projection" in params:
    return source_CD, target_CD, params["output_projection"]["kernel"]
  return source_CD, target_CD, target_CD.T


def position_table(
  params: Mapping[str, Any],
  name: str,
  positions: str,
  tokens_T: np.ndarray,
  table_CD: np.ndarray,
  marks_C: bytes = b"",
) -> np.ndarray:
  """Returns the encoding that is added to the embeddings of `tokens_T`, [T, D] (Section 3.5).

  A learned table is scaled as embeddings are. With "words", half of the columns are of the token's
  number, half of the number of marked tokens up to it.
  """
  length, d_model = len(tokens_T), table_CD.shape[1]
  if positions == "sinusoidal":
    return positional_encoding(length, d_model)
  if positions == "sinusoidal_concatenated":
    return concatenated_positional_encoding(length, d_model)
  if positions == "learned":
    return params[name]["embedding"][:length] * math.sqrt(d_model)
  if positions == "none":
    return np.zeros((length, d_model))
  if positions == "words":
    table_TH = positional_encoding(length + 1, d_model // 2)
    words_T = [sum(marks_C[token] for token in tokens_T[: t + 1]) for t in range(length)]
    return np.concatenate([table_TH[:length], table_TH[words_T]], axis=1)
  raise ValueError(f"positions={positions!r} is not known")


def _float64(tree: Any) -> Any:
  """Returns nested dicts with their arrays in float64."""
  if hasattr(tree, "items"):
    return {name: _float64(branch) for name, branch in tree.items()}
  return np.asarray(tree, np.float64)
