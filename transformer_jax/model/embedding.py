"""Token embeddings and the output projection, which may be one matrix (Section 3.4), plus positions (Section 3.5)."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from transformer_jax.config import PAD_ID, ModelConfig
from transformer_jax.model.positions import sinusoids


class Embedding(nn.Module):
  """A [C, D] matrix that maps tokens to vectors and, where shared, vectors to logits."""

  vocab_size: int
  d_model: int
  dtype: jnp.dtype

  def setup(self):
    self.embedding = self.param(
      "embedding",
      nn.initializers.normal(self.d_model**-0.5),
      (self.vocab_size, self.d_model),
      jnp.float32,
    )

  def __call__(self, tokens):
    """Vectors times sqrt(d_model), [..., D]; PAD is the zero vector, which the decoder also starts from."""
    vectors = jnp.take(self.embedding, tokens, axis=0) * math.sqrt(self.d_model)
    return jnp.where((tokens != PAD_ID)[..., None], vectors, 0.0).astype(self.dtype)

  def logits(self, outputs):
    """Scores before the softmax, float32 [..., C]: no bias, no scaling."""
    return project(outputs, self.embedding.astype(self.dtype), contract_axis=1)

  def matrix(self):
    """What `logits` multiplies with, [C, D], float32."""
    return self.embedding


class OutputProjection(nn.Module):
  """The pre-softmax projection when it is a matrix of its own."""

  vocab_size: int
  d_model: int
  dtype: jnp.dtype

  def setup(self):
    self.kernel = self.param(
      "kernel", nn.initializers.xavier_uniform(), (self.d_model, self.vocab_size), jnp.float32
    )

  def logits(self, outputs):
    """Scores before the softmax, float32 [..., C]."""
    return project(outputs, self.kernel.astype(self.dtype), contract_axis=0)

  def matrix(self):
    """What `logits` multiplies with, [C, D] as of an embedding, float32."""
    return self.kernel.T


def project(outputs, matrix, contract_axis):
  """outputs [..., D] times a matrix of width D, accumulated and returned in float32."""
  return lax.dot_general(
    outputs,
    matrix,
    (((outputs.ndim - 1,), (contract_axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


class Positions(nn.Module):
  """The positional encoding that is added to embeddings, in the configured form."""

  config: ModelConfig

  @nn.compact
  def __call__(self, length):
    """The first `length` rows of the encoding, float32 [length, D].

    Beyond a learned table the rows are zero: a batch may be padded to more positions than the longest sentence may have.
    """
    cfg = self.config
    if cfg.positions == "none":
      return jnp.zeros((length, cfg.d_model))
    if cfg.positions != "learned":
      return jnp.asarray(sinusoids(length, cfg.d_model, cfg.positions))
    table_LD = self.param(
      "embedding",
      nn.initializers.normal(cfg.d_model**-0.5),
      (cfg.max_positions, cfg.d_model),
      jnp.float32,
    )
    rows_LD = table_LD[:length] * math.sqrt(cfg.d_model)
    return jnp.pad(rows_LD, ((0, max(0, length - cfg.max_positions)), (0, 0)))
