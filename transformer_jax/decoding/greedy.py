"""Greedy search, which `--beam_size=1` means: the most probable token at each position, until EOS.

The authors' beam search with one beam differs: after a finished hypothesis it goes on to look for a
better one. Greedy search ends with the first EOS that is most probable, and needs
neither scores nor reordering.
"""

import dataclasses

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens
from transformer_jax.decoding.search_state import (
  Alive,
  Cache,
  Lengths,
  Penalty,
  SearchResult,
  SearchState,
  Steps,
  TokensToLogits,
  initial_state,
  output_lengths,
  previous_tokens,
  run,
)


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
  search = GreedySearch(penalty)
  start = search.start(cache, limits_B, max_length, min_lengths_B)
  return search.result(run(search, Steps(tokens_to_logits), start))


@dataclasses.dataclass(frozen=True)
class GreedySearch:
  """The steps of `greedy_search`. Implements `Search`.

  The only hypothesis stays the live one, also when it has ended.
  """

  penalty: Penalty

  def start(
    self,
    cache: Cache,
    limits_B: Int32[Array, " B"],
    room: int,
    min_lengths_B: Lengths | None = None,
  ) -> SearchState:
    """Returns the state before the first step."""
    return initial_state(cache, 1, room, limits_B, min_lengths_B)

  def step(self, state: SearchState, steps: Steps) -> SearchState:
    """Returns the state after one more token."""
    logits_BMC, cache = steps.tokens_to_logits(previous_tokens(state), state.position, state.cache)
    log_probs, tokens = best_next_tokens(logits_BMC, 1, state.position, state.min_lengths_B)
    is_over_B1 = state.is_over_B[:, None]
    tokens_B1 = jnp.where(is_over_B1, PAD_ID, tokens[..., 0].astype(jnp.int32))
    log_probs_B1 = state.alive.log_probs_BM + jnp.where(is_over_B1, 0.0, log_probs[..., 0])
    tokens_B1T = lax.dynamic_update_index_in_dim(
      state.alive.tokens_BMT, tokens_B1, state.position, axis=2
    )
    position = state.position + 1
    has_ended_B = tokens_B1[:, 0] == EOS_ID
    return state._replace(
      position=position,
      cache=cache,
      alive=Alive(tokens_B1T, log_probs_B1),
      is_over_B=state.is_over_B | has_ended_B | (position >= state.limits_B),
    )

  def result(self, state: SearchState) -> SearchResult:
    """Returns the only output of each sentence."""
    tokens_BMT, log_probs_BM = state.alive
    lengths_BM = output_lengths(tokens_BMT)
    return SearchResult(
      tokens_BMT=tokens_BMT,
      lengths_BM=lengths_BM,
      log_probs_BM=log_probs_BM,
      scores_BM=log_probs_BM / self.penalty(jnp.maximum(lengths_BM, 1)),
      is_finished_BM=jnp.any(tokens_BMT == EOS_ID, axis=-1),
    )
