"""Search among well-formed trees alone: what a hypothesis may say next, by the brackets it has open and the words it has covered."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.search_state import gather_beams

_NOTHING, _OPEN, _LEAF, _CLOSE = range(4)


@dataclasses.dataclass(frozen=True)
class BracketRules:
  """What each token of a vocabulary of size C does: numpy arrays."""

  kinds_C: np.ndarray
  labels_C: np.ndarray  # numbers the labels of openings and closings

  @classmethod
  def of(cls, brackets):
    """From a list of ("open" | "leaf" | "close", label) or None for each token. What opens and has no closing is left out."""
    closed = {label for kind, label in filter(None, brackets) if kind == "close"}
    brackets = [
      None if item and item[0] == "open" and item[1] not in closed else item for item in brackets
    ]
    numbers = {
      label: number
      for number, label in enumerate(dict.fromkeys(item[1] for item in brackets if item))
    }
    kinds = dict(open=_OPEN, leaf=_LEAF, close=_CLOSE)
    return cls(
      np.array([kinds[item[0]] if item else _NOTHING for item in brackets], np.int32),
      np.array([numbers[item[1]] if item else -1 for item in brackets], np.int32),
    )


class _State(NamedTuple):
  """Of M hypotheses a sentence; `open_BMD` is the stack of open labels."""

  open_BMD: jax.Array  # int32
  depth_BM: jax.Array  # int32, labels on the stack
  words_BM: jax.Array  # int32, covered so far
  has_just_opened_BM: jax.Array  # bool: the innermost constituent is empty


def constrain(tokens_to_logits, cache, reorder, rules, beam_size, room, max_lengths_B, num_words_B):
  """A model's (tokens_to_logits, cache, reorder) for a search that finds only trees.

  One constituent holds all; a closing has the label of the innermost open constituent, which has words; there are
  `num_words_B` words; openings stop in time for all to be closed within `max_lengths_B` tokens, EOS included. Of a sentence that is too long for its
  limit, words alone are allowed.

  A hypothesis keeps the model's probability: what forbidden tokens had of it goes to PAD, which is never chosen.
  """
  limits_B1 = jnp.minimum(max_lengths_B, room)[:, None]
  shape = (max_lengths_B.shape[0], beam_size)
  zero_BM = jnp.zeros(shape, jnp.int32)
  start = _State(jnp.zeros((*shape, room), jnp.int32), zero_BM, zero_BM, jnp.zeros(shape, bool))

  def constrained_logits(tokens_BM, position, cache):
    model_cache, state = cache
    logits_BMC, model_cache = tokens_to_logits(tokens_BM, position, model_cache)
    state = _advance(rules, state, tokens_BM)
    is_allowed_BMC = _is_allowed(rules, state, limits_B1 - position, num_words_B[:, None])
    log_probs_BMC = jax.nn.log_softmax(logits_BMC.astype(jnp.float32))
    forbidden_BM = jax.nn.logsumexp(jnp.where(is_allowed_BMC, -jnp.inf, log_probs_BMC), axis=-1)
    log_probs_BMC = (
      jnp.where(is_allowed_BMC, log_probs_BMC, -jnp.inf).at[..., PAD_ID].set(forbidden_BM)
    )
    return log_probs_BMC, (model_cache, state)

  def reorder_both(cache, parents_BM):
    return reorder(cache[0], parents_BM), gather_beams(cache[1], parents_BM)

  return constrained_logits, (cache, start), reorder_both


def _advance(rules, state, tokens_BM):
  """The state after the latest tokens; PAD changes nothing."""
  kinds_BM, labels_BM = (jnp.asarray(array)[tokens_BM] for array in (rules.kinds_C, rules.labels_C))
  is_open_BM = kinds_BM == _OPEN
  is_top_BMD = jnp.arange(state.open_BMD.shape[-1]) == state.depth_BM[..., None]
  return _State(
    jnp.where(is_top_BMD & is_open_BM[..., None], labels_BM[..., None], state.open_BMD),
    state.depth_BM + is_open_BM - (kinds_BM == _CLOSE),
    state.words_BM + (kinds_BM == _LEAF),
    jnp.where(kinds_BM == _NOTHING, state.has_just_opened_BM, is_open_BM),
  )


def _is_allowed(rules, state, remaining_B1, num_words_B1):
  """Which tokens may come next, bool [B, M, C]; `remaining_B1` counts the tokens there is room for, this one and EOS included."""
  depth_BM, words_left_BM = state.depth_BM, num_words_B1 - state.words_BM
  innermost = jnp.maximum(depth_BM - 1, 0)[..., None]
  innermost_BM = jnp.where(
    depth_BM > 0, jnp.take_along_axis(state.open_BMD, innermost, axis=-1)[..., 0], -1
  )
  is_root_needed_BM = (depth_BM == 0) & (state.words_BM == 0)
  # An opening costs itself and its closing, beside the words, the closings that are due, and EOS.
  may_open_BM = (
    (rules.kinds_C == _OPEN).any()
    & (words_left_BM > 0)
    & ((depth_BM > 0) | is_root_needed_BM)
    & (words_left_BM + depth_BM + 3 <= remaining_B1)
  )
  may_leaf_BM = (words_left_BM > 0) & ((depth_BM > 0) | ~may_open_BM)
  may_close_BM = (
    (depth_BM > 0) & ~state.has_just_opened_BM & ((depth_BM > 1) | (words_left_BM <= 0))
  )
  may_end_BM = (depth_BM == 0) & (words_left_BM <= 0)
  kinds_C, labels_C = jnp.asarray(rules.kinds_C), jnp.asarray(rules.labels_C)
  return (
    (kinds_C == _OPEN) & may_open_BM[..., None]
    | (kinds_C == _LEAF) & may_leaf_BM[..., None]
    | (kinds_C == _CLOSE) & may_close_BM[..., None] & (labels_C == innermost_BM[..., None])
    | (jnp.arange(len(rules.kinds_C)) == EOS_ID) & may_end_BM[..., None]
  )
