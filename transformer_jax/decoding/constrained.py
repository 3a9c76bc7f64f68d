"""Search among well-formed trees only.

The next token of a hypothesis depends on the brackets it has open and the words it has covered.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Integer

from transformer_jax.config import EOS_ID
from transformer_jax.decoding.next_tokens import allow_only
from transformer_jax.decoding.search_state import (
  Cache,
  Lengths,
  Steps,
  gather_beams,
)

# For each token of a vocabulary: ("open", "leaf" or "close", label), or None.
Brackets = Sequence[tuple[str, str] | None]

_NOTHING, _OPEN, _LEAF, _CLOSE = range(4)
_KINDS = dict(open=_OPEN, leaf=_LEAF, close=_CLOSE)


@dataclasses.dataclass(frozen=True)
class BracketRules:
  """The kind and the label of each token of a vocabulary of size C."""

  kinds_C: Int32[np.ndarray, " C"]
  labels_C: Int32[np.ndarray, " C"]  # numbers of the labels of brackets

  @classmethod
  def of(cls, brackets: Brackets) -> "BracketRules":
    """Returns the rules for these tokens. An opening bracket that no token closes is ignored."""
    closed = {item[1] for item in brackets if item and item[0] == "close"}
    kinds_C = np.full(len(brackets), _NOTHING, np.int32)
    labels_C = np.full(len(brackets), -1, np.int32)
    numbers: dict[str, int] = {}
    for token, item in enumerate(brackets):
      if item is None:
        continue
      kind, label = item
      if kind == "open" and label not in closed:
        continue
      kinds_C[token] = _KINDS[kind]
      labels_C[token] = numbers.setdefault(label, len(numbers))
    return cls(kinds_C, labels_C)


class _State(NamedTuple):
  """The state of M hypotheses per sentence; `open_BMD` is the stack of open labels."""

  open_BMD: Int32[Array, "B M D"]
  depth_BM: Int32[Array, "B M"]  # labels on the stack
  words_BM: Int32[Array, "B M"]  # covered so far
  has_just_opened_BM: Bool[Array, "B M"]  # the innermost constituent is empty


class ConstrainedCache(NamedTuple):
  """The model's cache, and what the constraint needs to know."""

  of_model: Cache
  state: _State
  limits_B: Int32[Array, " B"]
  num_words_B: Int32[Array, " B"]


def constrained_cache(
  of_model: Cache, beam_size: int, room: int, limits_B: Lengths, num_words_B: Lengths
) -> ConstrainedCache:
  """Returns the cache for a search that `constrain` constrains.

  Args:
    of_model: the model's.
    beam_size: M.
    room: the tokens that the search has room for.
    limits_B: the most tokens of each sentence's output, EOS included.
    num_words_B: words that each sentence's tree must cover.
  """
  shape = (len(limits_B), beam_size)
  zero_BM = jnp.zeros(shape, jnp.int32)
  start = _State(
    open_BMD=jnp.zeros((*shape, room), jnp.int32),
    depth_BM=zero_BM,
    words_BM=zero_BM,
    has_just_opened_BM=jnp.zeros(shape, bool),
  )
  return ConstrainedCache(of_model, start, jnp.asarray(limits_B), jnp.asarray(num_words_B))


def constrain(steps: Steps, rules: BracketRules) -> Steps:
  """Returns the steps of a search that finds only trees; its cache is a `constrained_cache`.

  A tree has one root and `num_words_B` words. A closing bracket has the label of the innermost open
  constituent, which must have words. No bracket opens that could not be closed within
  `limits_B` tokens, EOS included. For a sentence that is too long for its limit, only words
  are allowed.

  A hypothesis keeps the model's probability: that of forbidden tokens goes to PAD, which is never
  chosen.
  """

  def tokens_to_logits(tokens_BM, position, cache):
    logits_BMC, of_model = steps.tokens_to_logits(tokens_BM, position, cache.of_model)
    state = _advance(rules, cache.state, tokens_BM)
    remaining_B1 = cache.limits_B[:, None] - position
    is_allowed_BMC = _is_allowed(rules, state, remaining_B1, cache.num_words_B[:, None])
    return allow_only(logits_BMC, is_allowed_BMC), cache._replace(of_model=of_model, state=state)

  def reorder(cache, parents_BM):
    of_model = steps.reorder(cache.of_model, parents_BM)
    return cache._replace(of_model=of_model, state=gather_beams(cache.state, parents_BM))

  def lengthen(cache, room):
    open_BMD = cache.state.open_BMD
    open_BMD = jnp.pad(open_BMD, ((0, 0), (0, 0), (0, room - open_BMD.shape[-1])))
    of_model = steps.lengthen(cache.of_model, room)
    return cache._replace(of_model=of_model, state=cache.state._replace(open_BMD=open_BMD))

  return Steps(tokens_to_logits, reorder, lengthen)


def _advance(rules: BracketRules, state: _State, tokens_BM: Int32[Array, "B M"]) -> _State:
  """Returns the state after the latest tokens; PAD changes nothing."""
  kinds_BM = jnp.asarray(rules.kinds_C)[tokens_BM]
  labels_BM = jnp.asarray(rules.labels_C)[tokens_BM]
  is_open_BM = kinds_BM == _OPEN
  is_top_BMD = jnp.arange(state.open_BMD.shape[-1]) == state.depth_BM[..., None]
  is_pushed_BMD = is_top_BMD & is_open_BM[..., None]
  return _State(
    open_BMD=jnp.where(is_pushed_BMD, labels_BM[..., None], state.open_BMD),
    depth_BM=state.depth_BM + is_open_BM - (kinds_BM == _CLOSE),
    words_BM=state.words_BM + (kinds_BM == _LEAF),
    has_just_opened_BM=jnp.where(kinds_BM == _NOTHING, state.has_just_opened_BM, is_open_BM),
  )


def _is_allowed(
  rules: BracketRules,
  state: _State,
  remaining_B1: Int32[Array, "B 1"],
  num_words_B1: Integer[Array | np.ndarray, "B 1"],
) -> Bool[Array, "B M C"]:
  """Returns which tokens may come next.

  `remaining_B1` counts the tokens that still fit, this one and EOS included.
  """
  depth_BM = state.depth_BM
  is_inside_BM = depth_BM > 0
  words_left_BM = num_words_B1 - state.words_BM
  top_BM1 = jnp.maximum(depth_BM - 1, 0)[..., None]
  innermost_BM = jnp.take_along_axis(state.open_BMD, top_BM1, axis=-1)[..., 0]
  innermost_BM = jnp.where(is_inside_BM, innermost_BM, -1)
  is_root_needed_BM = (depth_BM == 0) & (state.words_BM == 0)
  # A pair of brackets needs room besides the words, the closing brackets that are due, and EOS.
  may_open_BM = (
    (rules.kinds_C == _OPEN).any()
    & (words_left_BM > 0)
    & (is_inside_BM | is_root_needed_BM)
    & (words_left_BM + depth_BM + 3 <= remaining_B1)
  )
  may_leaf_BM = (words_left_BM > 0) & (is_inside_BM | ~may_open_BM)
  may_leave_BM = (depth_BM > 1) | (words_left_BM <= 0)
  may_close_BM = is_inside_BM & ~state.has_just_opened_BM & may_leave_BM
  may_end_BM = (depth_BM == 0) & (words_left_BM <= 0)
  kinds_C = jnp.asarray(rules.kinds_C)
  labels_C = jnp.asarray(rules.labels_C)
  has_innermost_label_BMC = labels_C == innermost_BM[..., None]
  is_eos_C = jnp.arange(len(rules.kinds_C)) == EOS_ID
  return (
    (kinds_C == _OPEN) & may_open_BM[..., None]
    | (kinds_C == _LEAF) & may_leaf_BM[..., None]
    | (kinds_C == _CLOSE) & may_close_BM[..., None] & has_innermost_label_BMC
    | is_eos_C & may_end_BM[..., None]
  )
