"""The state of a search from step to step, and its result."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int32, Integer

from transformer_jax.config import PAD_ID

# The model's cache: any pytree.
Cache = Any
# (previous tokens, position, cache) -> (logits, cache)
TokensToLogits = Callable[
  [Int32[Array, "B M"], Int32[Array, ""], Cache], tuple[Float[Array, "B M C"], Cache]
]
# (cache, parents) -> the cache in which slot m continues hypothesis parents[b, m]
Reorder = Callable[[Cache, Int32[Array, "B M"]], Cache]
# length -> divisor of log-probabilities
Penalty = Callable[[Any], Any]
Lengths = Integer[Array | np.ndarray, " B"]


class SearchResult(NamedTuple):
  """The M best outputs of each sentence, best first: finished ones before unfinished ones.

  Each of the two groups is sorted by falling score. An unfinished output reached the length limit
  without EOS; its score has the same penalty. If a sentence has fewer than M outputs, the last
  slots have length 0, and log-probability and score -inf. On the host the arrays are numpy's.
  """

  tokens_BMT: Int32[Array | np.ndarray, "B M T"]  # EOS included, PAD after it
  lengths_BM: Int32[Array | np.ndarray, "B M"]  # tokens, EOS included
  log_probs_BM: Float32[Array | np.ndarray, "B M"]  # nats, EOS included
  scores_BM: Float32[Array | np.ndarray, "B M"]  # log-probability / penalty(length)
  is_finished_BM: Bool[Array | np.ndarray, "B M"]  # ends in EOS


class Alive(NamedTuple):
  """Hypotheses that may go on, by falling log-probability; -inf marks an empty slot."""

  tokens_BMT: Int32[Array, "B M T"]  # PAD where nothing is generated yet
  log_probs_BM: Float32[Array, "B M"]


class Finished(NamedTuple):
  """Hypotheses that ended in EOS, by falling score; -inf marks an empty slot."""

  tokens_BMT: Int32[Array, "B M T"]  # PAD after EOS
  log_probs_BM: Float32[Array, "B M"]
  scores_BM: Float32[Array, "B M"]


class SearchState(NamedTuple):
  """The state of a search; all rows are at the same position."""

  position: Int32[Array, ""]  # tokens generated so far
  cache: Cache
  alive: Alive
  finished: Finished
  is_over_B: Bool[Array, " B"]  # true once nothing about this sentence can change


def initial_state(
  cache: Cache, beam_size: int, max_length: int, limits_B: Int32[Array, " B"]
) -> SearchState:
  """Returns the state with nothing generated; a sentence whose limit is 0 is over at once."""
  shape = (limits_B.shape[0], beam_size)
  tokens_BMT = jnp.full((*shape, max_length), PAD_ID, jnp.int32)
  none_BM = jnp.full(shape, -jnp.inf)
  # Only one empty hypothesis: M of them would stay M copies. The authors start the others from
  # -1e7, which is the same for large vocabularies; -inf also keeps copies out where there are fewer
  # continuations than slots.
  only_first_BM = none_BM.at[:, 0].set(0.0)
  return SearchState(
    position=jnp.int32(0),
    cache=cache,
    alive=Alive(tokens_BMT, only_first_BM),
    finished=Finished(tokens_BMT, none_BM, none_BM),
    is_over_B=limits_B <= 0,
  )


def gather_beams(tree: Any, parents_BM: Int32[Array, "B M"]) -> Any:
  """Returns the tree with hypothesis parents[b, m] in slot m; all leaves are [B, M, ...].

  It is the default way to reorder a cache.
  """

  def gather(leaf):
    index = parents_BM.reshape(*parents_BM.shape, *[1] * (leaf.ndim - 2))
    return jnp.take_along_axis(leaf, index, axis=1)

  return jax.tree.map(gather, tree)


def where_over(is_over_B: Bool[Array, " B"], old: Any, new: Any) -> Any:
  """Returns `old` for sentences that are over, `new` for the others; all leaves are [B, ...]."""

  def choose(old_leaf, new_leaf):
    is_over = is_over_B.reshape(-1, *[1] * (old_leaf.ndim - 1))
    return jnp.where(is_over, old_leaf, new_leaf)

  return jax.tree.map(choose, old, new)


def output_lengths(tokens: Int32[Array, "*batch T"]) -> Int32[Array, "*batch"]:
  """Returns the number of generated tokens, EOS included: all but PAD, which is never generated."""
  return jnp.sum(tokens != PAD_ID, axis=-1, dtype=jnp.int32)
