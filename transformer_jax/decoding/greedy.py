"""Greedy search: the most probable token at each position, until EOS. What `--beam_size=1` means.

The authors' beam search with one beam is something else: it sets a finished hypothesis aside and goes on, looking for a
better one. Greedy search ends with the first EOS that is most probable, and needs neither scores nor reordering.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens
from transformer_jax.decoding.search_state import SearchResult, lengths_of


class _State(NamedTuple):
  position: jax.Array  # int32 scalar
  cache: Any
  previous_B: jax.Array  # int32, the latest tokens
  tokens_BT: jax.Array  # int32, PAD where nothing is generated
  log_probs_B: jax.Array  # float32
  is_over_B: jax.Array  # bool


def greedy_search(
  tokens_to_logits, cache, *, batch_size, max_length, max_lengths_B, penalty, min_lengths_B=None
):
  """The greedy output of each sentence, as a SearchResult with M = 1.

  It is unfinished where the sentence's limit came before EOS. Arguments as for `beam_search`; of equally probable
  tokens the lowest is taken.
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
    jnp.int32(0),
    cache,
    tokens_BT[:, 0],
    tokens_BT,
    jnp.where(limits_B > 0, 0.0, -jnp.inf),
    limits_B <= 0,
  )
  state = lax.while_loop(lambda state: ~jnp.all(state.is_over_B), step, start)
  lengths_B = lengths_of(state.tokens_BT)
  scores_B = state.log_probs_B / penalty(jnp.maximum(lengths_B, 1))
  is_finished_B = jnp.any(state.tokens_BT == EOS_ID, axis=1)
  return SearchResult(
    *(x[:, None] for x in (state.tokens_BT, lengths_B, state.log_probs_B, scores_B, is_finished_B))
  )
