"""Several models that choose each token together: the mean of their probabilities."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from transformer_jax.decoding.search_state import Steps


def ensemble(members: Sequence[Steps]) -> Steps:
  """Returns the steps of an ensemble. Its cache is the tuple of the members' caches.

  The logits are the logarithms of `mean_log_probs`. A single member is returned as it is.
  """
  if len(members) == 1:
    return members[0]

  def tokens_to_logits(tokens_BM, position, caches):
    results = [
      member.tokens_to_logits(tokens_BM, position, cache)
      for member, cache in zip(members, caches, strict=True)
    ]
    log_probs = [jax.nn.log_softmax(logits.astype(jnp.float32)) for logits, _ in results]
    return mean_log_probs(log_probs), tuple(cache for _, cache in results)

  def reorder(caches, parents_BM):
    pairs = zip(members, caches, strict=True)
    return tuple(member.reorder(cache, parents_BM) for member, cache in pairs)

  def lengthen(caches, room):
    pairs = zip(members, caches, strict=True)
    return tuple(member.lengthen(cache, room) for member, cache in pairs)

  return Steps(tokens_to_logits, reorder, lengthen)


def mean_log_probs(log_probs: Sequence[Float32[Array, "*shape"]]) -> Any:
  """Returns the logarithm of the arithmetic mean of probabilities, given their logarithms."""
  return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - math.log(len(log_probs))
