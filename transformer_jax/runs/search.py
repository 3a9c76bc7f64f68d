"""Answers text with a model: decodes as the settings say, on all devices, and returns text."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from transformer_jax import parallel
from transformer_jax.config import DecodeConfig
from transformer_jax.decoding.beam_search import BeamSearch
from transformer_jax.decoding.constrained import (
  BracketRules,
  Brackets,
  constrain,
  constrained_cache,
  lengthen_constrained,
)
from transformer_jax.decoding.generate import DecodeBatch, Hypothesis, Source, generate
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
from transformer_jax.tasks.task import Output, Task


@dataclasses.dataclass(frozen=True)
class Answer:
  """One of the n best answers to a sentence: the output, and how probable the model finds it."""

  output: Output
  log_prob: float  # nats, EOS included
  score: float  # log-probability / length penalty

  @property
  def text(self) -> str:
    """The text of the output."""
    return self.output.text

  @property
  def is_repaired(self) -> bool:
    """True if the tokens were not a tree, and the text is a repaired one."""
    return self.output.is_repaired


class Sentence(NamedTuple):
  """A sentence to answer."""

  text: str
  tokens: list[int]  # EOS included; a sentence without tokens gets no answer


def answers(
  task: Task,
  sentences: Iterable[Sentence],
  decode_batch: DecodeBatch,
  decode: DecodeConfig,
  *,
  num_best: int = 1,
  detokenize: bool = False,
  is_at_hand: Callable[[], bool] = lambda: True,
) -> Iterator[list[Answer]]:
  """Yields the up to `num_best` Answers of each sentence, best first, in the sentences' order.

  A sentence with tokens has at least one Answer, one without has none. Sentences are read a window
  at a time, as `generate` reads its sources, so there may be infinitely many.

  Args:
    task: the run's task, which counts words and makes text of tokens.
    sentences: Sentences, whose tokens `cut` has limited to what the model takes.
    decode_batch: from `make_decode_batch(...)(params)`, for the same `num_best`.
    decode: the decoding settings.
    num_best: answers to each sentence.
    detokenize: undo the preprocessing's tokenization in the text.
    is_at_hand: returns whether the next sentence can be read without waiting.

  Example:
    decode_batch = make_decode_batch(model, config.decode, task.brackets())(params)
    sentences = [Sentence(text, task.encode_source(text)) for text in ("forty two", "six")]
    for n_best in answers(task, sentences, decode_batch, config.decode):
      print(n_best[0].text, n_best[0].log_prob)
  """
  waiting = collections.deque()  # texts that were read and are not answered yet

  def sources() -> Iterator[Source | None]:
    for text, tokens in sentences:
      waiting.append(text)
      yield Source(tokens, task.count_words(text)) if tokens else None

  n_best_lists = generate(
    sources(),
    decode_batch,
    batch_tokens=decode.decode_batch_tokens,
    max_extra_length=decode.max_extra_length,
    beam_size=decode.beam_size,
    num_best=num_best,
    row_multiple=parallel.num_devices(),
    is_at_hand=is_at_hand,
  )
  for hypotheses in n_best_lists:
    text = waiting.popleft()
    yield [_answer(task, text, hypothesis, detokenize) for hypothesis in hypotheses]


def _answer(task: Task, text: str, hypothesis: Hypothesis, detokenize: bool) -> Answer:
  output = task.decode_target(hypothesis.tokens, text, detokenize)
  return Answer(output, hypothesis.log_prob, hypothesis.score)


def make_search(
  model: Transformer,
  decode: DecodeConfig,
  max_length: int | None = None,
  brackets: Brackets | None = None,
  num_best: int | None = None,
) -> Callable[..., SearchResult]:
  """Returns the search that the settings describe, for one device.

  It is a function (params, source_BS, max_lengths_B[, min_lengths_B[, gates[, num_words_B]]]) ->
  SearchResult.

  Args:
    model: the Transformer.
    decode: the decoding settings.
    max_length: room for output tokens; by default the padded length of the source +
      `decode.max_extra_length`.
    brackets: the kind of each target token in a tree (`Task.brackets`), for a constrained search.
    num_best: outputs to search for; by default all that the beam holds.
  """
  search = _SearchOf(model, decode, brackets, num_best)

  def find(
    params: Any,
    source_BS: Int32[Array, "B S"],
    max_lengths_B: Int32[Array, " B"],
    min_lengths_B: Int32[Array, " B"] | None = None,
    gates: HeadGates | None = None,
    num_words_B: Int32[Array, " B"] | None = None,
  ) -> SearchResult:
    room = search.full_room(source_BS.shape[1], max_length)
    limits_B = jnp.minimum(max_lengths_B, room)
    state = search.start(params, source_BS, limits_B, room, gates, num_words_B, min_lengths_B)
    return search.kind.result(search.run(params, state, gates))

  return find


class _SearchOf:
  """The search that the settings describe, over a model, in parts, for one device."""

  kind: Search

  def __init__(
    self,
    model: Transformer,
    decode: DecodeConfig,
    brackets: Brackets | None,
    num_best: int | None,
  ) -> None:
    self._model = model
    self._decode = decode
    self._rules = _rules(decode, brackets)
    self.kind = _kind(decode, num_best)

  def full_room(self, source_length: int, max_length: int | None = None) -> int:
    """Returns the most output tokens; learned positions bound them."""
    room = max_length or source_length + self._decode.max_extra_length
    if self._model.config.positions == "learned":
      room = min(room, self._model.config.max_positions)
    return room

  def start(
    self,
    params: Any,
    source_BS: Int32[Array, "B S"],
    limits_B: Int32[Array, " B"],
    room: int,
    gates: HeadGates | None = None,
    num_words_B: Int32[Array, " B"] | None = None,
    min_lengths_B: Int32[Array, " B"] | None = None,
  ) -> SearchState:
    """Encodes; returns the state before the first step, with room for so many tokens."""
    beam_size = self._decode.beam_size
    variables = {"params": params}
    cache = self._model.apply(variables, source_BS, beam_size, room, gates, method="start")
    if self._rules is not None:
      if num_words_B is None:
        raise ValueError("a constrained search needs the number of words of each sentence")
      cache = constrained_cache(cache, beam_size, room, limits_B, num_words_B)
    return self.kind.start(cache, limits_B, room, min_lengths_B)

  def run(
    self, params: Any, state: SearchState, gates: HeadGates | None, few: int = 0
  ) -> SearchState:
    """Steps until at most `few` sentences are not over, or the room is used up."""
    return run(self.kind, self._steps(params, gates), state, few)

  def regroup(self, state: SearchState, rows_R: Int32[Array, " R"], room: int) -> SearchState:
    """Returns the state of these rows alone, with room for so many tokens."""
    return regroup(state, rows_R, room, self._lengthen)

  def _steps(self, params: Any, gates: HeadGates | None) -> Steps:
    """Returns what the search asks of the model; its cache is (memory, Cache)."""
    variables = {"params": params}

    def tokens_to_logits(tokens_BM, position, cache):
      memory, own = cache
      logits_BMC, own = self._model.apply(
        variables, tokens_BM, position, own, memory, gates, method="step"
      )
      return logits_BMC, (memory, own)

    def reorder(cache, parents_BM):
      memory, own = cache
      return memory, own.reorder(parents_BM)

    steps = Steps(tokens_to_logits, reorder)
    return steps if self._rules is None else constrain(steps, self._rules)

  def _lengthen(self, cache: Any, room: int) -> Any:
    """Returns the cache with room for more tokens."""

    def of_model(cache: Any, room: int) -> Any:
      memory, own = cache
      return memory, own.lengthen(room)

    if self._rules is None:
      return of_model(cache, room)
    return lengthen_constrained(cache, room, of_model)


def _kind(decode: DecodeConfig, num_best: int | None) -> Search:
  """Returns greedy search or beam search."""
  penalty_of = LENGTH_PENALTIES[decode.length_penalty_form]

  def penalty(length: Any) -> Any:
    return penalty_of(length, decode.length_penalty)

  if decode.beam_size == 1:
    return GreedySearch(penalty)
  return BeamSearch(decode.beam_size, penalty, num_best, decode.early_stopping)


def _rules(decode: DecodeConfig, brackets: Brackets | None) -> BracketRules | None:
  """Returns the rules of a constrained search, or None for a free one."""
  if not decode.constrained:
    return None
  if brackets is None:
    raise ValueError("a constrained search needs the brackets of the task's tokens")
  return BracketRules.of(brackets)


def make_decode_batch(
  model: Transformer,
  decode: DecodeConfig,
  brackets: Brackets | None = None,
  num_best: int = 1,
) -> Callable[..., DecodeBatch]:
  """Returns a function (replicated params[, replicated HeadGates]) -> decode_batch.

  decode_batch(source_BS, max_lengths_B, num_words_B) runs the search on all devices, in stages
  (`decoding/stages.py`). It returns a SearchResult of numpy arrays with `num_best` outputs for each
  sentence.
  """
  search = _SearchOf(model, decode, brackets, num_best)

  def start(params, gates, room, source_BS, max_lengths_B, num_words_B):
    limits_B = jnp.minimum(max_lengths_B, search.full_room(source_BS.shape[1]))
    return search.start(params, source_BS, limits_B, room, gates, num_words_B)

  def advance(params, gates, few, state):
    state = search.run(params, state, gates, few)
    return state, Progress(state.position, state.is_over_B, search.kind.result(state))

  stages = Stages(start, advance, search.regroup)

  def with_params(params: Any, gates: HeadGates | None = None) -> DecodeBatch:
    def decode_batch(
      source_BS: Int32[np.ndarray, "B S"],
      max_lengths_B: Int32[np.ndarray, " B"],
      num_words_B: Int32[np.ndarray, " B"],
    ) -> SearchResult:
      room = search.full_room(source_BS.shape[1])
      return stages.search((params, gates), (source_BS, max_lengths_B, num_words_B), room)

    return decode_batch

  return with_params
