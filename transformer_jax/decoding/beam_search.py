"""Beam search (Section 6.1) as the paper's authors ran it, over any model.

At each step the M live hypotheses are expanded to the 2 M most probable continuations. Those that
end in EOS compete by score with the M finished ones; the M most probable others stay alive. Each
hypothesis has one EOS continuation, so at least M others remain.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int32

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.next_tokens import best_next_tokens
from transformer_jax.decoding.search_state import (
  Alive,
  Cache,
  Finished,
  Lengths,
  Penalty,
  Reorder,
  SearchResult,
  SearchState,
  Steps,
  TokensToLogits,
  gather_beams,
  initial_state,
  output_lengths,
  previous_tokens,
  run,
  where_over,
)


def beam_search(  # noqa: PLR0913  a search has this many independent settings, all by keyword
  tokens_to_logits: TokensToLogits,
  cache: Cache,
  *,
  batch_size: int,
  beam_size: int,
  max_length: int,
  max_lengths_B: Lengths,
  penalty: Penalty,
  reorder: Reorder = gather_beams,
  min_lengths_B: Lengths | None = None,
  num_best: int | None = None,
  early_stopping: str = "exact",
) -> SearchResult:
  """Returns the best outputs of each of B sentences.

  A sentence is over when its limit is reached, or when its best live hypothesis can beat none of
  its `num_best` best finished ones. Log-probabilities only fall and penalties only grow, so a live
  hypothesis can at best attain its present log-probability over the penalty of the limit. The
  result is therefore that of a search that never stops early, and no sentence's result depends on
  the others in the batch.

  If a sentence has fewer than `num_best` finished outputs at its limit, the live ones follow after
  them, marked unfinished and scored by the same formula.

  Args:
    tokens_to_logits: function (previous tokens int32 [B, M], position int32 scalar, cache) ->
      (logits [B, M, C], cache). At position 0 the previous tokens are PAD.
    cache: the model's, for position 0; any pytree.
    batch_size: B.
    beam_size: M. With 1 this is not greedy search: a finished hypothesis does not end the search.
    max_length: static room for generated tokens, EOS included.
    max_lengths_B: each sentence's own limit; beyond `max_length` it has no effect, and 0 requests
      no search.
    penalty: function length -> positive divisor of log-probabilities, which must not fall as length
      grows.
    reorder: function (cache, parents int32 [B, M]) -> the cache in which slot m continues
      hypothesis parents[b, m].
    min_lengths_B: tokens, EOS included, before which EOS is not allowed; default none.
    num_best: requested outputs, by default M. Fewer let a search end sooner and give the first ones
      of the same list.
    early_stopping: "exact", as above; or "first": a sentence is over as soon as M hypotheses have
      finished, as other toolkits do by default. There, as in them, EOS counts only among the M most
      probable continuations.

  Returns:
    SearchResult, with `num_best` in place of M.

  Example:
    result = beam_search(
      lambda tokens_BM, position, cache: (jnp.zeros((*tokens_BM.shape, 100)), cache),
      cache=(),
      batch_size=1,
      beam_size=4,
      max_length=20,
      max_lengths_B=jnp.array([20]),
      penalty=lambda length: length_penalty(length, 0.6),
    )
    result.tokens_BMT[0, 0, : result.lengths_BM[0, 0]]  # the best output
  """
  limits_B = jnp.broadcast_to(jnp.minimum(max_lengths_B, max_length), (batch_size,))
  search = BeamSearch(beam_size, penalty, num_best, early_stopping)
  start = search.start(cache, limits_B, max_length, min_lengths_B)
  return search.result(run(search, Steps(tokens_to_logits, reorder), start))


@dataclasses.dataclass(frozen=True)
class BeamSearch:
  """The steps of `beam_search`, which explains the fields. Implements `Search`."""

  beam_size: int
  penalty: Penalty
  num_best: int | None = None
  early_stopping: str = "exact"

  def start(
    self,
    cache: Cache,
    limits_B: Int32[Array, " B"],
    room: int,
    min_lengths_B: Lengths | None = None,
  ) -> SearchState:
    """Returns the state before the first step."""
    return initial_state(cache, self.beam_size, room, limits_B, min_lengths_B)

  def step(self, state: SearchState, steps: Steps) -> SearchState:
    """Returns the state after one more token."""
    logits_BMC, cache = steps.tokens_to_logits(previous_tokens(state), state.position, state.cache)
    continuations, parents = _expand(state, logits_BMC)
    finished = _finish(state.finished, self._ended(state, continuations))
    alive, survivors = _live_on(state, continuations)
    alive, finished = where_over(state.is_over_B, (state.alive, state.finished), (alive, finished))
    position = state.position + 1
    is_settled_B = self._is_settled(alive, finished, state.limits_B)
    return state._replace(
      position=position,
      cache=steps.reorder(cache, gather_beams(parents, survivors)),
      alive=alive,
      finished=finished,
      is_over_B=state.is_over_B | is_settled_B | (position >= state.limits_B),
    )

  def result(self, state: SearchState) -> SearchResult:
    """Returns the finished hypotheses, then the live ones."""
    return _result(state, self.penalty, self._num_best)

  @property
  def _num_best(self) -> int:
    return self.beam_size if self.num_best is None else min(self.num_best, self.beam_size)

  def _ended(self, state: SearchState, continuations: Alive) -> Finished:
    """Returns the continuations that end in EOS, with their scores; the others have -inf."""
    is_ended = _last_is_eos(state, continuations)
    if self.early_stopping == "first":
      is_ended &= jnp.arange(is_ended.shape[1]) < self.beam_size
    scores = continuations.log_probs_BM / self.penalty(state.position + 1)
    scores = jnp.where(is_ended, scores, -jnp.inf)
    return Finished(continuations.tokens_BMT, continuations.log_probs_BM, scores)

  def _is_settled(
    self, alive: Alive, finished: Finished, limits_B: Int32[Array, " B"]
  ) -> Bool[Array, " B"]:
    """Returns whether no live hypothesis of a sentence matters any more."""
    if self.early_stopping == "first":
      return finished.scores_BM[:, -1] != -jnp.inf
    return ~_can_improve(alive, finished.scores_BM[:, self._num_best - 1], limits_B, self.penalty)


def _expand(
  state: SearchState, logits_BMC: Float[Array, "B M C"]
) -> tuple[Alive, Int32[Array, "B continuations"]]:
  """Returns the 2 M most probable continuations of the live hypotheses, best first.

  They come as an Alive of 2 M slots, and the parent of each.
  """
  batch_size, beam_size, vocab_size = logits_BMC.shape
  # Only so many continuations of one hypothesis can be among the best of all.
  count = min(2 * beam_size, vocab_size)
  pool_shape = (batch_size, beam_size * count)
  log_probs, tokens = best_next_tokens(logits_BMC, count, state.position, state.min_lengths_B)
  log_probs = (state.alive.log_probs_BM[..., None] + log_probs).reshape(pool_shape)
  log_probs, index = lax.top_k(log_probs, min(2 * beam_size, beam_size * count))
  parents = index // count
  tokens = jnp.take_along_axis(tokens.reshape(pool_shape), index, axis=1)
  tokens_so_far = gather_beams(state.alive.tokens_BMT, parents)
  tokens_so_far = lax.dynamic_update_index_in_dim(
    tokens_so_far, tokens.astype(jnp.int32), state.position, axis=2
  )
  return Alive(tokens_so_far, log_probs), parents


def _last_is_eos(state: SearchState, continuations: Alive) -> Bool[Array, "B continuations"]:
  """Returns whether each continuation ends in EOS."""
  last = lax.dynamic_index_in_dim(continuations.tokens_BMT, state.position, axis=2, keepdims=False)
  return last == EOS_ID


def _finish(finished: Finished, ended: Finished) -> Finished:
  """Returns the M best by score of the finished hypotheses and those that have just ended."""
  pool = _side_by_side(finished, ended)
  # Of equal scores the first wins, so an earlier finished hypothesis is not replaced by its equal.
  _, best = lax.top_k(pool.scores_BM, finished.scores_BM.shape[1])
  return gather_beams(pool, best)


def _side_by_side(one: Finished, other: Finished) -> Finished:
  """Returns the hypotheses of `one`, then those of `other`."""
  return jax.tree.map(lambda *pair: jnp.concatenate(pair, axis=1), one, other)


def _live_on(state: SearchState, continuations: Alive) -> tuple[Alive, Int32[Array, "B M"]]:
  """Returns the M most probable continuations that do not end in EOS, and their slots."""
  log_probs = jnp.where(_last_is_eos(state, continuations), -jnp.inf, continuations.log_probs_BM)
  log_probs_BM, survivors = lax.top_k(log_probs, state.alive.log_probs_BM.shape[1])
  return Alive(gather_beams(continuations.tokens_BMT, survivors), log_probs_BM), survivors


def _can_improve(
  alive: Alive, scores_B: Float32[Array, " B"], limits_B: Int32[Array, " B"], penalty: Penalty
) -> Bool[Array, " B"]:
  """Returns whether a sentence's best live hypothesis could still beat `scores_B`.

  A score of -inf is beaten by any.
  """
  best_attainable_B = alive.log_probs_BM[:, 0] / penalty(jnp.maximum(limits_B, 1))
  return best_attainable_B > scores_B


def _result(state: SearchState, penalty: Penalty, num_best: int) -> SearchResult:
  """Returns the finished hypotheses, then the live ones, up to `num_best`."""
  alive = state.alive
  lengths_BM = output_lengths(alive.tokens_BMT)
  scores_BM = alive.log_probs_BM / penalty(jnp.maximum(lengths_BM, 1))
  unfinished = Finished(alive.tokens_BMT, alive.log_probs_BM, scores_BM)
  both = _side_by_side(state.finished, unfinished)
  slots_1M = jnp.arange(num_best)[None]
  num_finished_B1 = jnp.sum(state.finished.scores_BM != -jnp.inf, axis=1, keepdims=True)
  is_finished_BM = slots_1M < num_finished_B1
  beam_size = lengths_BM.shape[1]
  order_BM = jnp.where(is_finished_BM, slots_1M, beam_size + slots_1M - num_finished_B1)
  tokens_BMT, log_probs_BM, scores_BM = gather_beams(both, order_BM)
  is_empty_BM = (log_probs_BM == -jnp.inf) | (output_lengths(tokens_BMT) == 0)
  tokens_BMT = jnp.where(is_empty_BM[..., None], PAD_ID, tokens_BMT)
  return SearchResult(
    tokens_BMT=tokens_BMT,
    lengths_BM=output_lengths(tokens_BMT),
    log_probs_BM=jnp.where(is_empty_BM, -jnp.inf, log_probs_BM),
    scores_BM=jnp.where(is_empty_BM, -jnp.inf, scores_BM),
    is_finished_BM=is_finished_BM,
  )
