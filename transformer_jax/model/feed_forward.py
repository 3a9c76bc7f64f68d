"""The position-wise feed-forward network (Section 3.3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.attention.matmul import dot_general
from transformer_jax.config import ModelConfig
from transformer_jax.model.dropout import dropout


class FeedForward(nn.Module):
  """FFN(x) = max(0, x W1 + b1) W2 + b2."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    dense = lambda width: nn.Dense(
      width, dtype=self.dtype, dot_general=dot_general, kernel_init=nn.initializers.xavier_uniform()
    )
    self.inner = dense(self.config.d_ff)
    self.outer = dense(self.config.d_model)

  def __call__(self, inputs, deterministic):
    """[..., D] -> [..., D]."""
    hidden = jax.nn.relu(self.inner(inputs))
    return self.outer(dropout(self, hidden, self.config.relu_dropout_rate, deterministic))
