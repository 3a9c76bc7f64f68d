"""Token embeddings and the output projection, which may share a matrix, and positions.

See Sections 3.4 and 3.5.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.config import PAD_ID, ModelConfig
from transformer_jax.model.positions import sinusoids

AnyArray = Array | np.ndarray  # tokens and parameters may come from the host


class Embedding(nn.Module):
  """A [C, D] matrix that maps tokens to vectors and, where shared, vectors to logits."""

  vocab_size: int
  d_model: int
  dtype: jnp.dtype

  def setup(self) -> None:
    self.embedding = self.param(
      "embedding",
      nn.initializers.normal(self.d_model**-0.5),
      (self.vocab_size, self.d_model),
      jnp.float32,
    )

  def __call__(self, tokens: Int32[AnyArray, "*B"]) -> Float[Array, "*B D"]:
    """Returns vectors times sqrt(d_model).

    PAD, from which the decoder also starts, is the zero vector.
    """
    vectors = jnp.take(self.embedding, tokens, axis=0) * math.sqrt(self.d_model)
    return jnp.where((tokens != PAD_ID)[..., None], vectors, 0.0).astype(self.dtype)

  def logits(self, outputs: Float[Array, "*B D"]) -> Float32[Array, "*B C"]:
    """Returns the scores before the softmax: no bias, no scaling."""
    return project(outputs, self.embedding.astype(self.dtype), contract_axis=1)

  def matrix(self) -> Float32[AnyArray, "C D"]:
    """Returns the matrix of `logits`."""
    return self.embedding


class OutputProjection(nn.Module):
  """The pre-softmax projection if it has a matrix of its own."""

  vocab_size: int
  d_model: int
  dtype: jnp.dtype

  def setup(self) -> None:
    self.kernel = self.param(
      "kernel", nn.initializers.xavier_uniform(), (self.d_model, self.vocab_size), jnp.float32
    )

  def logits(self, outputs: Float[Array, "*B D"]) -> Float32[Array, "*B C"]:
    """Returns the scores before the softmax."""
    return project(outputs, self.kernel.astype(self.dtype), contract_axis=0)

  def matrix(self) -> Float32[AnyArray, "C D"]:
    """Returns the matrix of `logits`, with the axes of an embedding."""
    return self.kernel.T


def project(
  outputs: Float[Array, "*B D"], matrix: Float[AnyArray, "_ _"], contract_axis: int
) -> Float32[Array, "*B C"]:
  """Returns outputs times a matrix, whose axis `contract_axis` is D, accumulated in float32."""
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
  def __call__(self, length: int) -> Float32[Array, "{length} D"]:
    """Returns the first `length` rows of the encoding.

    Beyond a learned table the rows are zero: a batch may be padded to more positions than the
    longest sentence may have.
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
    missing = max(0, length - cfg.max_positions)
    return jnp.pad(rows_LD, ((0, missing), (0, 0)))
