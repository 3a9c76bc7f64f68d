"""The search that the settings describe, over a model or an ensemble, in parts for one device."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from transformer_jax.config import DecodeConfig
from transformer_jax.decoding.beam_search import BeamSearch
from transformer_jax.decoding.constrained import (
  BracketRules,
  Brackets,
  constrain,
  constrained_cache,
)
from transformer_jax.decoding.ensemble import ensemble
from transformer_jax.decoding.forced import ForcedCache, force
from transformer_jax.decoding.greedy import GreedySearch
from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES
from transformer_jax.decoding.search_state import (
  Search,
  SearchResult,
  SearchState,
  Steps,
  regroup,
  run,
)
from transformer_jax.decoding.stages import Progress, Stages
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer


class ModelSearch:
  """A search in parts: its start, its steps, and the choice of rows between two stages.

  Args:
    model: the Transformer; or several, an ensemble, whose params are as many and which have no
      gates.
    decode: the decoding settings.
    brackets: the kind of each target token in a tree (`Task.brackets`), for a constrained search.
    num_best: outputs to search for; by default all that the beam holds.
  """

  def __init__(
    self,
    model: Transformer | Sequence[Transformer],
    decode: DecodeConfig,
    brackets: Brackets | None = None,
    num_best: int | None = None,
  ) -> None:
    self._model = model
    self._models = [model] if isinstance(model, Transformer) else list(model)
    self._decode = decode
    self._brackets = brackets
    self._rules = _rules(decode, brackets)
    self._num_best = num_best

  def with_length_penalty(self, length_penalty: float | Float32[Array, ""]) -> "ModelSearch":
    """Returns the search with another alpha, which may be traced."""
    decode = dataclasses.replace(self._decode, length_penalty=length_penalty)
    return ModelSearch(self._model, decode, self._brackets, self._num_best)

  @property
  def beam_size(self) -> int:
    """Hypotheses of each sentence; 1 is greedy search."""
    return self._decode.beam_size

  def full_room(self, source_length: int, max_length: int | None = None) -> int:
    """Returns the most output tokens; learned positions bound them.

    Args:
      source_length: padded.
      max_length: by default `source_length` + `max_extra_length`.
    """
    room = max_length or source_length + self._decode.max_extra_length
    learned = [m.config.max_positions for m in self._models if m.config.positions == "learned"]
    return min([room, *learned])

  def rooms(self, source_length: int) -> tuple[int, int]:
    """Returns how many tokens most outputs have at most, and `full_room`.

    Translations are rarely more than half again as long as the padded source, trees rarely more
    than four times.
    """
    full = self.full_room(source_length)
    most = 3 * source_length // 2 if self._brackets is None else 4 * source_length
    return min(most, full), full

  def start(
    self,
    params: Any,
    source_BS: Int32[Array, "B S"],
    limits_B: Int32[Array, " B"],
    room: int,
    gates: HeadGates | None = None,
    num_words_B: Int32[Array, " B"] | None = None,
    min_lengths_B: Int32[Array, " B"] | None = None,
    prefix_BT: Int32[Array, "B T"] | None = None,
  ) -> SearchState:
    """Encodes; returns the state before the first step, with room for so many tokens."""
    beam_size = self.beam_size
    caches = [
      model.apply({"params": its}, source_BS, beam_size, room, gates, method="start")
      for model, its in self._members(params)
    ]
    cache: Any = tuple(caches) if len(caches) > 1 else caches[0]
    if self._rules is not None:
      if num_words_B is None:
        raise ValueError("a constrained search needs the number of words of each sentence")
      cache = constrained_cache(cache, beam_size, room, limits_B, num_words_B)
    if prefix_BT is not None:
      cache = ForcedCache(cache, prefix_BT)
    return self._kind.start(cache, limits_B, room, min_lengths_B)

  def run(
    self,
    params: Any,
    state: SearchState,
    gates: HeadGates | None = None,
    few: int | Int32[Array, ""] = 0,
  ) -> SearchState:
    """Steps until at most `few` sentences are not over, or the room is used up."""
    return run(self._kind, self._steps(params, gates, state), state, few)

  def regroup(self, state: SearchState, rows_R: Int32[Array, " R"], room: int) -> SearchState:
    """Returns the state of these rows alone, with room for so many tokens."""
    nothing = [None] * len(self._models)  # no parameter is needed
    steps = self._steps(nothing[0] if self._is_single else nothing, None, state)
    return regroup(state, rows_R, room, steps.lengthen)

  def result(self, state: SearchState) -> SearchResult:
    """Returns the outputs; those of a sentence that is over are final."""
    return self._kind.result(state)

  @property
  def _is_single(self) -> bool:
    return isinstance(self._model, Transformer)

  def _members(self, params: Any) -> list[tuple[Transformer, Any]]:
    """Returns each model with its parameters."""
    return list(zip(self._models, [params] if self._is_single else params, strict=True))

  @property
  def _kind(self) -> Search:
    """Greedy search or beam search."""
    decode = self._decode
    penalty_of = LENGTH_PENALTIES[decode.length_penalty_form]

    def penalty(length: Any) -> Any:
      return penalty_of(length, decode.length_penalty)

    if decode.beam_size == 1:
      return GreedySearch(penalty)
    return BeamSearch(decode.beam_size, penalty, self._num_best, decode.early_stopping)

  def _steps(self, params: Any, gates: HeadGates | None, state: SearchState) -> Steps:
    """Returns what the search asks of the models."""
    steps = ensemble([_steps(model, its, gates) for model, its in self._members(params)])
    if self._rules is not None:
      steps = constrain(steps, self._rules)
    return force(steps) if isinstance(state.cache, ForcedCache) else steps


def _rules(decode: DecodeConfig, brackets: Brackets | None) -> BracketRules | None:
  """Returns the rules of a constrained search, or None for a free one."""
  if not decode.constrained:
    return None
  if brackets is None:
    raise ValueError("a constrained search needs the brackets of the task's tokens")
  return BracketRules.of(brackets)


def _steps(model: Transformer, params: Any, gates: HeadGates | None) -> Steps:
  """Returns what a search asks of a model; its cache is (memory, Cache)."""

  def tokens_to_logits(tokens_BM, position, cache):
    memory, own = cache
    variables = {"params": params}
    logits_BMC, own = model.apply(variables, tokens_BM, position, own, memory, gates, method="step")
    return logits_BMC, (memory, own)

  def reorder(cache, parents_BM):
    memory, own = cache
    return memory, own.reorder(parents_BM)

  def lengthen(cache, room):
    memory, own = cache
    return memory, own.lengthen(room)

  return Steps(tokens_to_logits, reorder, lengthen)


def in_stages(search: ModelSearch) -> Stages:
  """Returns the search on all devices, in stages.

  Its model is (params, gates, length penalty), each replicated; gates and penalty may be None. Its
  job is (sources, most tokens of each output, words of each sentence, prefixes or None).
  """

  def start(model, room, source_BS, max_lengths_B, num_words_B, prefix_BT):
    params, gates, _ = model
    limits_B = jnp.minimum(max_lengths_B, search.full_room(source_BS.shape[1]))
    return search.start(params, source_BS, limits_B, room, gates, num_words_B, prefix_BT=prefix_BT)

  def advance(model, few, state):
    params, gates, length_penalty = model
    its = search if length_penalty is None else search.with_length_penalty(length_penalty)
    state = its.run(params, state, gates, few)
    positions_B = jnp.broadcast_to(state.position, state.is_over_B.shape)
    return state, Progress(state.is_over_B, positions_B, its.result(state))

  # Greedy search gains too little by smaller stages for the programs and the memory they need.
  return Stages(start, advance, search.regroup, has_smaller=search.beam_size > 1)
