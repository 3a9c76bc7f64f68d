"""Search among the outputs that begin with given tokens."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32

from transformer_jax.config import PAD_ID
from transformer_jax.decoding.next_tokens import allow_only
from transformer_jax.decoding.search_state import TokensToLogits


def force(tokens_to_logits: TokensToLogits, prefix_BT: Int32[Array, "B T"]) -> TokensToLogits:
  """Returns `tokens_to_logits` for a search whose outputs begin with `prefix_BT`.

  Tokens keep the model's probability, the forced ones too.

  Args:
    tokens_to_logits: the model's, as for `beam_search`.
    prefix_BT: the tokens of each sentence's output, PAD where any may come; T is at least 1.
  """

  def forced_logits(tokens_BM, position, cache):
    logits_BMC, cache = tokens_to_logits(tokens_BM, position, cache)
    last = prefix_BT.shape[1] - 1
    here_B = lax.dynamic_index_in_dim(prefix_BT, jnp.minimum(position, last), 1, keepdims=False)
    forced_B11 = jnp.where(position > last, PAD_ID, here_B)[:, None, None]
    tokens_C = jnp.arange(logits_BMC.shape[-1])
    is_allowed_BMC = jnp.where(forced_B11 == PAD_ID, tokens_C != PAD_ID, tokens_C == forced_B11)
    is_allowed_BMC = jnp.broadcast_to(is_allowed_BMC, logits_BMC.shape)
    return allow_only(logits_BMC, is_allowed_BMC), cache

  return forced_logits
