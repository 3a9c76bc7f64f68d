"""Greedy search, which `--beam_size=1` means: the most probable token at each position, until EOS.

The authors' beam search with one beam differs: after a finished hypothesis it goes on to look for a
better one. Greedy search ends with the first EOS that is most probable, and needs
neither scores nor reordering.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens
from transformer_jax.decoding.search_state import (
  Cache,
  Lengths,
  Penalty,
  SearchResult,
  TokensToLogits,
  output_lengths,
)


class _State(NamedTuple):
  position: Int32[Array, ""]
  cache: Cache
  previous_B: Int32[Array, " B"]  # the latest tokens
  tokens_BT: Int32[Array, "B T"]  # PAD where nothing is generated
  log_probs_B: Float32[Array, " B"]
  is_over_B: Bool[Array, " B"]


def greedy_search(
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  *,
  batch_size: int,
  max_length: int,
  max_lengths_B: Lengths,
  penalty: Penalty,
  min_lengths_B: Lengths | None = None,
) -> SearchResult:
  """Returns the greedy output of each sentence, with M = 1.

  It is unfinished if the sentence's limit came before EOS. The arguments are those of
  `beam_search`. Of equally probable tokens the one with the lowest id is taken.
  """
  limits_B = jnp.broadcast_to(jnp.minimum(max_lengths_B, max_length), (batch_size,))

  def step(state):
    logits_BMC, cache = tokens_to_logits(state.previous_B[:, None], state.position, state.cache)
    log_probs, tokens = best_next_tokens(logits_BMC, 1, state.position, min_lengths_B)
    tokens_B = jnp.where(state.is_over_B, PAD_ID, tokens[:, 0, 0].astype(jnp.int32))
    log_probs_B = state.log_probs_B + jnp.where(state.is_over_B, 0.0, log_probs[:, 0, 0])
    tokens_BT = lax.dynamic_update_index_in_dim(state.tokens_BT, tokens_B, state.position, axis=1)
    position = state.position + 1
    is_over_B = state.is_over_B | (tokens_B == EOS_ID) | (position >= limits_B)
    return _State(position, cache, tokens_B, tokens_BT, log_probs_B, is_over_B)

  tokens_BT = jnp.full((batch_size, max_length), PAD_ID, jnp.int32)
  start = _State(
    position=jnp.int32(0),
    cache=cache,
    previous_B=tokens_BT[:, 0],
    tokens_BT=tokens_BT,
    log_probs_B=jnp.where(limits_B > 0, 0.0, -jnp.inf),
    is_over_B=limits_B <= 0,
  )
  state = lax.while_loop(lambda state: ~jnp.all(state.is_over_B), step, start)
  lengths_B = output_lengths(state.tokens_BT)
  scores_B = state.log_probs_B / penalty(jnp.maximum(lengths_B, 1))
  is_finished_B = jnp.any(state.tokens_BT == EOS_ID, axis=1)
  return SearchResult(
    tokens_BMT=state.tokens_BT[:, None],
    lengths_BM=lengths_B[:, None],
    log_probs_BM=state.log_probs_B[:, None],
    scores_BM=scores_B[:, None],
    is_finished_BM=is_finished_B[:, None],
  )
