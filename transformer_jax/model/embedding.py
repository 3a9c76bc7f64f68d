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
  """The positional encoding that is added to embeddings, in the configured form.

  With `positions="words"`, the sinusoids in the first half of the dimensions are of the token's
  number, and those in the second half of its word's: how many marked tokens there are up to it.
  Where decoder and encoder number the same words, attention need not learn to count.

  Attributes:
    word_marks: of each token of the vocabulary a byte, 1 if it counts as a word; only for "words".
  """

  config: ModelConfig
  word_marks: bytes = b""

  def __call__(self, tokens_BT: Int32[AnyArray, "B T"]) -> Float32[Array, "*B T D"]:
    """Returns the encoding of whole sequences; [T, D] if it is the same for all of them."""
    length = tokens_BT.shape[1]
    if self.config.positions != "words":
      return self.table(length)
    words_BT = jnp.cumsum(self._is_word(tokens_BT), axis=1)
    return self._of_words(jnp.arange(length), words_BT, length)

  def step(
    self,
    tokens_BM: Int32[AnyArray, "B M"],
    position: Int32[AnyArray, ""] | int,
    length: int,
    words_BM: Int32[Array, "B M"] | None,
  ) -> tuple[Float32[Array, "... D"], Int32[Array, "B M"] | None]:
    """Returns the encoding of one position of M hypotheses, and `words_BM` with its tokens counted.

    The encoding is [1, D] if it is the same for all of them, else [B, M, D].

    Args:
      tokens_BM: the tokens at the position.
      position: below `length`, may be traced.
      length: static.
      words_BM: the marked tokens before the position; None if words are not counted.
    """
    if words_BM is None:
      return lax.dynamic_slice_in_dim(self.table(length), position, 1), None
    words_BM = words_BM + self._is_word(tokens_BM)
    return self._of_words(position, words_BM, length), words_BM

  @nn.compact
  def table(self, length: int) -> Float32[Array, "{length} D"]:
    """Returns the first `length` rows of an encoding of positions alone.

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

  def _is_word(self, tokens: Int32[AnyArray, "*B"]) -> Int32[Array, "*B"]:
    """Returns 1 for a token that counts as a word, else 0."""
    is_word_C = np.frombuffer(self.word_marks, np.uint8)
    return jnp.asarray(is_word_C, jnp.int32)[tokens]

  def _of_words(
    self, positions: AnyArray | int, words: Int32[Array, "*B"], length: int
  ) -> Float32[Array, "*B D"]:
    """Returns sinusoids of positions below `length` and of words, which may be `length`."""
    table_LH = jnp.asarray(sinusoids(length + 1, self.config.d_model // 2))
    of_words = table_LH[words]
    of_positions = jnp.broadcast_to(table_LH[positions], of_words.shape)
    return jnp.concatenate([of_positions, of_words], axis=-1)
