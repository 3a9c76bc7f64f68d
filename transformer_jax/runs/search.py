"""Answers text with a model: decodes as the settings say, on all devices, and returns text."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int32

from transformer_jax import parallel
from transformer_jax.config import DecodeConfig
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.constrained import BracketRules, Brackets, constrain
from transformer_jax.decoding.ensemble import Steps, ensemble
from transformer_jax.decoding.forced import force
from transformer_jax.decoding.generate import DecodeBatch, Hypothesis, Source, generate
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES
from transformer_jax.decoding.search_state import SearchResult
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer
from transformer_jax.tasks.task import Output, Task


@dataclasses.dataclass(frozen=True)
class Answer:
  """One of the n best answers to a sentence: the output, and how probable the model finds it."""

  output: Output
  log_prob: float  # nats, EOS included
  score: float  # log-probability / length penalty
  tokens: tuple[int, ...] = ()  # of the output, without EOS
  is_finished: bool = True  # False: cut at its limit of length, without EOS

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
    own_rows=parallel.own_rows,
    is_at_hand=is_at_hand,
  )
  for hypotheses in n_best_lists:
    text = waiting.popleft()
    yield [_answer(task, text, hypothesis, detokenize) for hypothesis in hypotheses]


def _answer(task: Task, text: str, hypothesis: Hypothesis, detokenize: bool) -> Answer:
  output = task.decode_target(hypothesis.tokens, text, detokenize)
  tokens = tuple(hypothesis.tokens)
  return Answer(output, hypothesis.log_prob, hypothesis.score, tokens, hypothesis.is_finished)


def make_search(
  model: Transformer | Sequence[Transformer],
  decode: DecodeConfig,
  max_length: int | None = None,
  brackets: Brackets | None = None,
  num_best: int | None = None,
) -> Callable[..., SearchResult]:
  """Returns the search that the settings describe, for one device.

  It is a function (params, source_BS, max_lengths_B[, min_lengths_B[, gates[, num_words_B[,
  prefix_BT]]]]) -> SearchResult. `prefix_BT` are the tokens that outputs begin with, PAD where any
  may come.

  Args:
    model: the Transformer; or several, an ensemble, whose params are as many and which have no
      gates.
    decode: the decoding settings.
    max_length: room for output tokens; by default the padded length of the source +
      `decode.max_extra_length`.
    brackets: the kind of each target token in a tree (`Task.brackets`), for a constrained search.
    num_best: outputs to search for; by default all that the beam holds.
  """
  rules = _rules(decode, brackets)
  models = [model] if isinstance(model, Transformer) else model
  penalty_of = LENGTH_PENALTIES[decode.length_penalty_form]

  def search(
    params: Any,
    source_BS: Int32[Array, "B S"],
    max_lengths_B: Int32[Array, " B"],
    min_lengths_B: Int32[Array, " B"] | None = None,
    gates: HeadGates | None = None,
    num_words_B: Int32[Array, " B"] | None = None,
    prefix_BT: Int32[Array, "B T"] | None = None,
  ) -> SearchResult:
    room = min(_room(each, decode, source_BS.shape[1], max_length) for each in models)
    members = zip(models, [params] if isinstance(model, Transformer) else params, strict=True)
    steps = ensemble(
      [
        _model_steps(each, its_params, source_BS, decode.beam_size, room, gates)
        for each, its_params in members
      ]
    )
    if rules is not None:
      if num_words_B is None:
        raise ValueError("a constrained search needs the number of words of each sentence")
      steps = constrain(*steps, rules, decode.beam_size, room, max_lengths_B, num_words_B)
    tokens_to_logits, cache, reorder = steps
    if prefix_BT is not None:
      tokens_to_logits = force(tokens_to_logits, prefix_BT)
    shared: dict[str, Any] = dict(
      batch_size=source_BS.shape[0],
      max_length=room,
      max_lengths_B=max_lengths_B,
      penalty=lambda lengths: penalty_of(lengths, decode.length_penalty),
      min_lengths_B=min_lengths_B,
    )
    if decode.beam_size == 1:
      return greedy_search(tokens_to_logits, cache, **shared)
    beam: dict[str, Any] = dict(beam_size=decode.beam_size, reorder=reorder, num_best=num_best)
    return beam_search(tokens_to_logits, cache, **beam, **shared)

  return search


def _rules(decode: DecodeConfig, brackets: Brackets | None) -> BracketRules | None:
  """Returns the rules of a constrained search, or None for a free one."""
  if not decode.constrained:
    return None
  if brackets is None:
    raise ValueError("a constrained search needs the brackets of the task's tokens")
  return BracketRules.of(brackets)


def _model_steps(
  model: Transformer,
  params: Any,
  source_BS: Int32[Array, "B S"],
  beam_size: int,
  room: int,
  gates: HeadGates | None,
) -> Steps:
  """Encodes the sources; returns what a search takes."""
  variables = {"params": params}
  memory, cache = model.apply(variables, source_BS, beam_size, room, gates, method="start")

  def tokens_to_logits(tokens_BM, position, cache):
    return model.apply(variables, tokens_BM, position, cache, memory, gates, method="step")

  def reorder(cache, parents_BM):
    return cache.reorder(parents_BM)

  return Steps(tokens_to_logits, cache, reorder)


def _room(
  model: Transformer, decode: DecodeConfig, source_length: int, max_length: int | None
) -> int:
  """Returns how many output tokens the search has room for; learned positions bound it."""
  room = max_length or source_length + decode.max_extra_length
  if model.config.positions == "learned":
    room = min(room, model.config.max_positions)
  return room


def make_decode_batch(
  model: Transformer | Sequence[Transformer],
  decode: DecodeConfig,
  brackets: Brackets | None = None,
  num_best: int = 1,
) -> Callable[..., DecodeBatch]:
  """Returns a function (replicated params[, replicated HeadGates]) -> decode_batch.

  decode_batch(source_BS, max_lengths_B, num_words_B) takes this process's rows and runs the search
  on all devices. It returns a SearchResult of numpy arrays with `num_best` outputs for each
  sentence, in all processes.
  """
  search = parallel.on_devices(make_search(model, decode, brackets=brackets, num_best=num_best))

  def with_params(params: Any, gates: HeadGates | None = None) -> DecodeBatch:
    def decode_batch(
      source_BS: Int32[np.ndarray, "B S"],
      max_lengths_B: Int32[np.ndarray, " B"],
      num_words_B: Int32[np.ndarray, " B"],
    ) -> SearchResult:
      source = parallel.split_rows(source_BS)
      max_lengths = parallel.split_rows(max_lengths_B)
      num_words = parallel.split_rows(num_words_B)
      result = search(params, source, max_lengths, None, gates, num_words)
      return parallel.gather_rows(result, source_BS.shape[0] * parallel.num_processes())

    return decode_batch

  return with_params
