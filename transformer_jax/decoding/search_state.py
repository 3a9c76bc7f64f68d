"""What a search remembers from step to step, and what it returns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from transformer_jax.config import PAD_ID


class SearchResult(NamedTuple):
  """The M best outputs of each sentence, best first: finished ones before unfinished ones, each group by falling score.

  An unfinished one reached the length limit without EOS; its score is penalised like the others'. Where a sentence has
  fewer than M outputs, the last places have length 0 and log-probability and score -inf.
  """

  tokens_BMT: jax.Array  # int32, EOS included, PAD after it
  lengths_BM: jax.Array  # int32, tokens, EOS included
  log_probs_BM: jax.Array  # float32, nats, EOS included
  scores_BM: jax.Array  # float32, log-probability / penalty(length)
  is_finished_BM: jax.Array  # bool: ends in EOS


class Alive(NamedTuple):
  """Hypotheses that may go on, by falling log-probability; -inf marks a place that holds none."""

  tokens_BMT: jax.Array  # int32, PAD where nothing is generated yet
  log_probs_BM: jax.Array  # float32


class Finished(NamedTuple):
  """Hypotheses that ended in EOS, by falling score; -inf marks a place that holds none."""

  tokens_BMT: jax.Array  # int32, PAD after EOS
  log_probs_BM: jax.Array  # float32
  scores_BM: jax.Array  # float32


class SearchState(NamedTuple):
  """The state of a search; all rows are at the same position."""

  position: jax.Array  # int32 scalar, tokens generated so far
  cache: Any  # the model's, any pytree
  alive: Alive
  finished: Finished
  is_over_B: jax.Array  # bool: nothing about this sentence changes any more


def initial_state(cache, beam_size, max_length, limits_B):
  """Nothing generated, nothing finished; a sentence whose limit is 0 is over already."""
  shape = (limits_B.shape[0], beam_size)
  tokens_BMT = jnp.full((*shape, max_length), PAD_ID, jnp.int32)
  none_BM = jnp.full(shape, -jnp.inf)
  # One hypothesis alone, the empty one: M of it would stay M copies. The authors start the others from -1e7, which is
  # the same for large vocabularies; -inf also keeps copies out where there are fewer continuations than places.
  only_first_BM = none_BM.at[:, 0].set(0.0)
  return SearchState(
    position=jnp.int32(0),
    cache=cache,
    alive=Alive(tokens_BMT, only_first_BM),
    finished=Finished(tokens_BMT, none_BM, none_BM),
    is_over_B=limits_B <= 0,
  )


def gather_beams(tree, parents_BM):
  """Every leaf [B, M, ...] with hypothesis `parents_BM[b, m]` in place m: the default way for a cache to follow."""

  def gather(leaf):
    return jnp.take_along_axis(
      leaf, parents_BM.reshape(*parents_BM.shape, *[1] * (leaf.ndim - 2)), axis=1
    )

  return jax.tree.map(gather, tree)


def where_over(is_over_B, old, new):
  """`old` for sentences that are over, `new` for the others; all leaves are [B, ...]."""
  return jax.tree.map(
    lambda o, n: jnp.where(is_over_B.reshape(-1, *[1] * (o.ndim - 1)), o, n), old, new
  )


def lengths_of(tokens_BMT):
  """Tokens generated, EOS included; PAD is never generated, so what is not PAD counts."""
  return jnp.sum(tokens_BMT != PAD_ID, axis=-1, dtype=jnp.int32)
