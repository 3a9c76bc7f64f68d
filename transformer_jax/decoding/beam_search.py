"""Beam search (Section 6.1) as the paper's authors ran it, over any model.

At each step the M live hypotheses are expanded to the 2 M most probable continuations. Those that end in EOS compete by
score with the M finished ones; the M most probable others live on. Since a hypothesis has one EOS, M others there are.
"""

import jax.numpy as jnp
from jax import lax

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens
from transformer_jax.decoding.search_state import (
  Alive,
  Finished,
  SearchResult,
  SearchState,
  gather_beams,
  initial_state,
  lengths_of,
  where_over,
)


def beam_search(
  tokens_to_logits,
  cache,
  *,
  batch_size,
  beam_size,
  max_length,
  max_lengths_B,
  penalty,
  reorder=gather_beams,
  min_lengths_B=None,
  num_best=None,
):
  """The best outputs of each of B sentences.

  A sentence is over when its limit is reached, or when its best live hypothesis can beat none of its `num_best` best
  finished ones. Log-probabilities only fall and penalties only grow, so a live hypothesis can at best attain its
  log-probability of now over the penalty of the limit. The result is therefore that of a search that never stops early,
  and no sentence's result depends on the others in the batch.

  Where a sentence has fewer than `num_best` finished outputs at its limit, the live ones follow after them, marked
  unfinished and scored by the same formula.

  Args:
    tokens_to_logits: function (previous tokens int32 [B, M], position int32 scalar, cache) -> (logits [B, M, C],
      cache). At position 0 the previous tokens are PAD.
    cache: the model's, for position 0; any pytree.
    batch_size: B.
    beam_size: M. With 1 this is not greedy search: a finished hypothesis does not end the search.
    max_length: static room for generated tokens, EOS included.
    max_lengths_B: each sentence's own limit; beyond `max_length` it has no effect, and 0 asks for no search.
    penalty: function length -> positive divisor of log-probabilities, which must not fall as length grows.
    reorder: function (cache, parents int32 [B, M]) -> the cache in which place m continues hypothesis parents[b, m].
    min_lengths_B: tokens, EOS included, before which EOS is not allowed; default none.
    num_best: outputs wanted, by default M; fewer let a search end sooner and give the first ones of the same list.

  Returns:
    SearchResult, with `num_best` in place of M.
  """
  limits_B = jnp.broadcast_to(jnp.minimum(max_lengths_B, max_length), (batch_size,))
  num_best = beam_size if num_best is None else min(num_best, beam_size)

  def step(state):
    previous_BM = _previous_tokens(state)
    logits_BMC, cache = tokens_to_logits(previous_BM, state.position, state.cache)
    continuations, parents = _expand(state, logits_BMC, min_lengths_B)
    finished = _finish(state, continuations, penalty)
    alive, kept = _live_on(state, continuations)
    alive, finished = where_over(state.is_over_B, (state.alive, state.finished), (alive, finished))
    position = state.position + 1
    is_settled_B = ~_can_improve(alive, finished.scores_BM[:, num_best - 1], limits_B, penalty)
    is_over_B = state.is_over_B | is_settled_B | (position >= limits_B)
    return SearchState(
      position, reorder(cache, gather_beams(parents, kept)), alive, finished, is_over_B
    )

  start = initial_state(cache, beam_size, max_length, limits_B)
  state = lax.while_loop(lambda state: ~jnp.all(state.is_over_B), step, start)
  return _result(state, penalty, num_best)


def _previous_tokens(state):
  """The latest token of each live hypothesis; at position 0 the first place of `tokens_BMT`, which still holds PAD."""
  return lax.dynamic_index_in_dim(
    state.alive.tokens_BMT, jnp.maximum(state.position - 1, 0), axis=2, keepdims=False
  )


def _expand(state, logits_BMC, min_lengths_B):
  """The 2 M most probable continuations of the live hypotheses, best first: (Alive of 2 M places, parents [B, 2 M])."""
  batch_size, beam_size, vocab_size = logits_BMC.shape
  count = min(
    2 * beam_size, vocab_size
  )  # of each hypothesis; no more than these can be among the best of all
  log_probs, tokens = best_next_tokens(logits_BMC, count, state.position, min_lengths_B)
  log_probs = (state.alive.log_probs_BM[..., None] + log_probs).reshape(
    batch_size, beam_size * count
  )
  log_probs, index = lax.top_k(log_probs, min(2 * beam_size, beam_size * count))
  parents = index // count
  tokens = jnp.take_along_axis(tokens.reshape(batch_size, beam_size * count), index, axis=1)
  tokens_so_far = gather_beams(state.alive.tokens_BMT, parents)
  tokens_so_far = lax.dynamic_update_index_in_dim(
    tokens_so_far, tokens.astype(jnp.int32), state.position, axis=2
  )
  return Alive(tokens_so_far, log_probs), parents


def _last_is_eos(state, continuations):
  last = lax.dynamic_index_in_dim(continuations.tokens_BMT, state.position, axis=2, keepdims=False)
  return last == EOS_ID


def _finish(state, continuations, penalty):
  """The M best by score of the finished hypotheses and of the continuations that end in EOS."""
  scores = continuations.log_probs_BM / penalty(state.position + 1)
  scores = jnp.where(_last_is_eos(state, continuations), scores, -jnp.inf)
  pool = Finished(
    *(
      jnp.concatenate([old, new], axis=1)
      for old, new in zip(
        state.finished, (continuations.tokens_BMT, continuations.log_probs_BM, scores), strict=True
      )
    )
  )
  # Of equal scores the first wins, so an earlier finished hypothesis is not replaced by its equal.
  _, best = lax.top_k(pool.scores_BM, state.finished.scores_BM.shape[1])
  return gather_beams(pool, best)


def _live_on(state, continuations):
  """The M most probable continuations that do not end in EOS: (Alive, their places among the continuations)."""
  log_probs = jnp.where(_last_is_eos(state, continuations), -jnp.inf, continuations.log_probs_BM)
  log_probs_BM, kept = lax.top_k(log_probs, state.alive.log_probs_BM.shape[1])
  return Alive(gather_beams(continuations.tokens_BMT, kept), log_probs_BM), kept


def _can_improve(alive, scores_B, limits_B, penalty):
  """Whether a sentence's best live hypothesis could still beat `scores_B`, [B]; -inf there is beaten by any."""
  best_attainable_B = alive.log_probs_BM[:, 0] / penalty(jnp.maximum(limits_B, 1))
  return best_attainable_B > scores_B


def _result(state, penalty, num_best):
  """The finished hypotheses, then the live ones, up to `num_best`."""
  lengths_BM = lengths_of(state.alive.tokens_BMT)
  unfinished = Finished(
    *state.alive, state.alive.log_probs_BM / penalty(jnp.maximum(lengths_BM, 1))
  )
  both = Finished(
    *(jnp.concatenate(pair, axis=1) for pair in zip(state.finished, unfinished, strict=True))
  )
  places_1M = jnp.arange(num_best)[None]
  num_finished_B1 = jnp.sum(state.finished.scores_BM != -jnp.inf, axis=1, keepdims=True)
  is_finished_BM = places_1M < num_finished_B1
  order_BM = jnp.where(is_finished_BM, places_1M, lengths_BM.shape[1] + places_1M - num_finished_B1)
  tokens_BMT, log_probs_BM, scores_BM = gather_beams(both, order_BM)
  is_empty_BM = (log_probs_BM == -jnp.inf) | (lengths_of(tokens_BMT) == 0)
  tokens_BMT = jnp.where(is_empty_BM[..., None], PAD_ID, tokens_BMT)
  log_probs_BM, scores_BM = (jnp.where(is_empty_BM, -jnp.inf, x) for x in (log_probs_BM, scores_BM))
  return SearchResult(tokens_BMT, lengths_of(tokens_BMT), log_probs_BM, scores_BM, is_finished_BM)
