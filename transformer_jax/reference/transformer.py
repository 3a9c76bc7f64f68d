"""The whole Transformer (Figure 1) for one sentence pair, from the model's parameters."""

import math

import numpy as np

from transformer_jax.reference.layers import decoder, encoder
from transformer_jax.reference.positions import (
  concatenated_positional_encoding,
  positional_encoding,
)

PAD_ID = 0  # config.PAD_ID; this floor imports nothing


def transformer(params, source_S, target_T, positions="sinusoidal", norm="post"):
  """Logits of each target token given the source and the targets before it, float64 [T, C].

  Args:
    params: nested dict of arrays, the tree that the model's `init` returns under "params".
    source_S: token ids; PAD may follow the sentence and is attended to by nothing.
    target_T: token ids to be predicted; the decoder sees them shifted right by one, PAD first.
    positions: sinusoidal, sinusoidal_concatenated, learned or none.
    norm: post (the paper) or pre.
  """
  params = _float64(params)
  source_S, target_T = np.asarray(source_S), np.asarray(target_T)
  source_allowed_S = source_S != PAD_ID
  source_table, target_table, output_DC = embedding_tables(params)
  x_SD = embed(source_S, source_table) + position_table(
    params, "source_positions", positions, source_S, source_table
  )
  memory_SD = encoder(x_SD, params["encoder"], source_allowed_S, norm)
  shifted_T = np.concatenate([[PAD_ID], target_T[:-1]])
  x_TD = embed(shifted_T, target_table) + position_table(
    params, "target_positions", positions, target_T, target_table
  )
  outputs_TD = decoder(x_TD, memory_SD, params["decoder"], source_allowed_S, norm)
  return outputs_TD @ output_DC


def embed(tokens_T, table_CD):
  """Rows of the table times sqrt(d_model) (Section 3.4); PAD is the zero vector."""
  d_model = table_CD.shape[1]
  vectors = [
    np.zeros(d_model) if token == PAD_ID else table_CD[token] * math.sqrt(d_model)
    for token in tokens_T
  ]
  return np.stack(vectors)


def embedding_tables(params):
  """(source [C, D], target [C, D], output [D, C]): one matrix where shared (Section 3.4), without scale or bias."""
  if "shared_embedding" in params:
    shared_CD = params["shared_embedding"]["embedding"]
    return shared_CD, shared_CD, shared_CD.T
  source_CD, target_CD = (
    params["source_embedding"]["embedding"],
    params["target_embedding"]["embedding"],
  )
  if "output_projection" in params:
    return source_CD, target_CD, params["output_projection"]["kernel"]
  return source_CD, target_CD, target_CD.T


def position_table(params, name, positions, tokens_T, table_CD):
  """What is added to the embeddings of `tokens_T` (Section 3.5); a learned table is scaled as embeddings are."""
  length, d_model = len(tokens_T), table_CD.shape[1]
  if positions == "sinusoidal":
    return positional_encoding(length, d_model)
  if positions == "sinusoidal_concatenated":
    return concatenated_positional_encoding(length, d_model)
  if positions == "learned":
    return params[name]["embedding"][:length] * math.sqrt(d_model)
  if positions == "none":
    return np.zeros((length, d_model))
  raise ValueError(f"positions={positions!r} is not known")


def _float64(tree):
  return (
    {k: _float64(v) for k, v in tree.items()}
    if hasattr(tree, "items")
    else np.asarray(tree, np.float64)
  )
