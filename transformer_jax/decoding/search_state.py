"""The state of a search from step to step, and its result."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
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
# (cache, room) -> the cache with room for more positions
Lengthen = Callable[[Cache, int], Cache]
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
  """The state of a search; all rows are at the same position, and each has its own sentence."""

  position: Int32[Array, ""]  # tokens generated so far
  cache: Cache  # each leaf is [B, ...]
  alive: Alive
  finished: Finished
  is_over_B: Bool[Array, " B"]  # true once nothing about this sentence can change
  limits_B: Int32[Array, " B"]  # the most tokens of each sentence's outputs, EOS included
  min_lengths_B: Integer[Array | np.ndarray, " B"] | None  # tokens before which EOS is not allowed

  @property
  def room(self) -> int:
    """The tokens that there is room for; static."""
    return self.alive.tokens_BMT.shape[-1]


def same_cache(cache: Cache, *_: Any) -> Cache:
  """Returns the cache as it is: a way to reorder or to lengthen one that needs neither."""
  return cache


class Steps(NamedTuple):
  """What a search asks of a model: three functions of its cache."""

  tokens_to_logits: TokensToLogits
  reorder: Reorder = same_cache
  lengthen: Lengthen = same_cache


@runtime_checkable
class Search(Protocol):
  """A way to search: beam search or greedy search."""

  def start(
    self,
    cache: Cache,
    limits_B: Int32[Array, " B"],
    room: int,
    min_lengths_B: Lengths | None = None,
  ) -> SearchState:
    """Returns the state before the first step, with room for so many tokens."""
    ...

  def step(self, state: SearchState, steps: Steps) -> SearchState:
    """Returns the state after one more token of each hypothesis."""
    ...

  def result(self, state: SearchState) -> SearchResult:
    """Returns the outputs; those of a sentence that is over are final."""
    ...


def initial_state(
  cache: Cache,
  beam_size: int,
  room: int,
  limits_B: Int32[Array, " B"],
  min_lengths_B: Lengths | None = None,
) -> SearchState:
  """Returns the state with nothing generated; a sentence whose limit is 0 is over at once."""
  shape = (limits_B.shape[0], beam_size)
  tokens_BMT = jnp.full((*shape, room), PAD_ID, jnp.int32)
  # A weak type would be another one than later states have, and need a program more.
  none_BM = jnp.full(shape, -jnp.inf, jnp.float32)
  # Only one empty hypothesis: M of them would stay M copies. The authors start the others from
  # -1e7, which is the same for large vocabularies; -inf also keeps copies out where there are fewer
  # continuations than slots.
  only_first_BM = none_BM.at[:, 0].set(jnp.where(limits_B > 0, 0.0, -jnp.inf))
  return SearchState(
    position=jnp.int32(0),
    cache=cache,
    alive=Alive(tokens_BMT, only_first_BM),
    finished=Finished(tokens_BMT, none_BM, none_BM),
    is_over_B=limits_B <= 0,
    limits_B=limits_B,
    min_lengths_B=min_lengths_B,
  )


def run(
  search: Search, steps: Steps, state: SearchState, few: int | Int32[Array, ""] = 0
) -> SearchState:
  """Steps until at most `few` sentences are not over, or the room is used up."""

  def goes_on(state: SearchState) -> Bool[Array, ""]:
    return (jnp.sum(~state.is_over_B) > few) & (state.position < state.room)

  return lax.while_loop(goes_on, lambda state: search.step(state, steps), state)


def regroup(
  state: SearchState, rows_R: Int32[Array, " R"], room: int, lengthen: Lengthen
) -> SearchState:
  """Returns the state of these rows alone, with room for so many tokens."""
  state = jax.tree.map(lambda leaf: leaf[rows_R] if leaf.ndim else leaf, state)
  more = room - state.room

  def longer(tokens_BMT: Int32[Array, "B M T"]) -> Int32[Array, "B M room"]:
    return jnp.pad(tokens_BMT, ((0, 0), (0, 0), (0, more)), constant_values=PAD_ID)

  return state._replace(
    cache=lengthen(state.cache, room),
    alive=state.alive._replace(tokens_BMT=longer(state.alive.tokens_BMT)),
    finished=state.finished._replace(tokens_BMT=longer(state.finished.tokens_BMT)),
  )


def previous_tokens(state: SearchState) -> Int32[Array, "B M"]:
  """Returns the latest token of each live hypothesis.

  At position 0 it reads the first column of `tokens_BMT`, which still holds PAD.
  """
  previous = jnp.maximum(state.position - 1, 0)
  return lax.dynamic_index_in_dim(state.alive.tokens_BMT, previous, axis=2, keepdims=False)


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
