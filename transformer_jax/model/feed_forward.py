"""The position-wise feed-forward network (Section 3.3)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from transformer_jax.attention.matmul import dot_general
from transformer_jax.config import ModelConfig
from transformer_jax.model.dropout import dropout

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "relu": jax.nn.relu,
  "swish": jax.nn.silu,
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
}


class FeedForward(nn.Module):
  """FFN(x) = max(0, x W1 + b1) W2 + b2; `config.activation` may replace max."""

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    self.inner = self._dense(self.config.d_ff)
    self.outer = self._dense(self.config.d_model)

  def _dense(self, width: int) -> nn.Dense:
    return nn.Dense(
      width,
      dtype=self.dtype,
      dot_general=dot_general,
      kernel_init=nn.initializers.xavier_uniform(),
    )

  def __call__(self, inputs: Float[Array, "*B D"], deterministic: bool) -> Float[Array, "*B D"]:
    """Returns FFN of each position."""
    hidden = _ACTIVATIONS[self.config.activation](self.inner(inputs))
    return self.outer(dropout(self, hidden, self.config.relu_dropout_rate, deterministic))
