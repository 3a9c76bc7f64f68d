"""Search among the outputs that begin with given tokens."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32

from transformer_jax.config import PAD_ID
from transformer_jax.decoding.next_tokens import allow_only
from transformer_jax.decoding.search_state import Cache, Steps


class ForcedCache(NamedTuple):
  """The model's cache, and the tokens that each sentence's output begins with."""

  of_model: Cache
  prefix_BT: Int32[Array, "B T"]  # PAD where any token may come; T is at least 1


def force(steps: Steps) -> Steps:
  """Returns the steps of a search whose outputs begin with a prefix; its cache is a `ForcedCache`.

  Tokens keep the model's probability, the forced ones too.
  """

  def tokens_to_logits(tokens_BM, position, cache):
    logits_BMC, of_model = steps.tokens_to_logits(tokens_BM, position, cache.of_model)
    prefix_BT = cache.prefix_BT
    last = prefix_BT.shape[1] - 1
    here_B = lax.dynamic_index_in_dim(prefix_BT, jnp.minimum(position, last), 1, keepdims=False)
    forced_B11 = jnp.where(position > last, PAD_ID, here_B)[:, None, None]
    tokens_C = jnp.arange(logits_BMC.shape[-1])
    is_allowed_BMC = jnp.where(forced_B11 == PAD_ID, tokens_C != PAD_ID, tokens_C == forced_B11)
    is_allowed_BMC = jnp.broadcast_to(is_allowed_BMC, logits_BMC.shape)
    return allow_only(logits_BMC, is_allowed_BMC), cache._replace(of_model=of_model)

  def reorder(cache, parents_BM):
    return cache._replace(of_model=steps.reorder(cache.of_model, parents_BM))

  def lengthen(cache, room):
    return cache._replace(of_model=steps.lengthen(cache.of_model, room))

  return Steps(tokens_to_logits, reorder, lengthen)
