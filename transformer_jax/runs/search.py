"""Answers text with a model: decodes as the settings say, on all devices, and returns text."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from transformer_jax import parallel
from transformer_jax.config import DecodeConfig
from transformer_jax.decoding.constrained import Brackets
from transformer_jax.decoding.generate import DecodeBatch, Hypothesis, Source, generate
from transformer_jax.decoding.search_state import SearchResult
from transformer_jax.machine import usable_cores
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.model_search import ModelSearch, in_stages
from transformer_jax.tasks.task import Output, Task

# Source positions that a CPU searches at once for each of its cores. A step reads the keys and
# values of all positions so far, and those of larger batches do not stay in the processor's caches.
_TOKENS_OF_A_CORE = 1024


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

  @classmethod
  def of(cls, text: str, tokens: list[int]) -> "Sentence":
    """Returns the sentence of a text and its encoded tokens, of which EOS alone gets no answer."""
    return cls(text, [] if len(tokens) == 1 else tokens)


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
    batch_tokens=_batch_tokens(decode),
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


def _batch_tokens(decode: DecodeConfig) -> int:
  """Returns the source positions that are searched at once, over all devices.

  A CPU takes fewer than the setting allows, unless there are several processes: all of them must
  plan the same batches, and their hosts may have different numbers of cores.
  """
  if parallel.backend() != "cpu" or parallel.num_processes() > 1:
    return decode.decode_batch_tokens
  return min(decode.decode_batch_tokens, _TOKENS_OF_A_CORE * (usable_cores() or 1))


def best_outputs(
  task: Task, sentences: Iterable[Sentence], decode_batch: DecodeBatch, decode: DecodeConfig
) -> list[Output]:
  """Returns the best output of each sentence, in their order; that of an empty one is empty."""
  n_best_lists = answers(task, sentences, decode_batch, decode)
  return [n_best[0].output if n_best else Output("") for n_best in n_best_lists]


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
  """Returns the search that the settings describe, for one device, in one piece.

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
  search = ModelSearch(model, decode, brackets, num_best)

  def find(
    params: Any,
    source_BS: Int32[Array, "B S"],
    max_lengths_B: Int32[Array, " B"],
    min_lengths_B: Int32[Array, " B"] | None = None,
    gates: HeadGates | None = None,
    num_words_B: Int32[Array, " B"] | None = None,
    prefix_BT: Int32[Array, "B T"] | None = None,
  ) -> SearchResult:
    room = search.full_room(source_BS.shape[1], max_length)
    limits_B = jnp.minimum(max_lengths_B, room)
    of_sentence = num_words_B, min_lengths_B, prefix_BT
    state = search.start(params, source_BS, limits_B, room, gates, *of_sentence)
    return search.result(search.run(params, state, gates))

  return find


def make_decode_batch(
  model: Transformer | Sequence[Transformer],
  decode: DecodeConfig,
  brackets: Brackets | None = None,
  num_best: int = 1,
) -> Callable[..., DecodeBatch]:
  """Returns a function (replicated params[, replicated HeadGates]) -> decode_batch.

  decode_batch(source_BS, max_lengths_B, num_words_B) takes this process's rows and runs the search
  on all devices, in stages (`decoding/stages.py`). It returns a SearchResult of numpy arrays with
  `num_best` outputs for each sentence, in all processes.
  """
  search = ModelSearch(model, decode, brackets, num_best)
  stages = in_stages(search)

  def with_params(params: Any, gates: HeadGates | None = None) -> DecodeBatch:
    def decode_batch(
      source_BS: Int32[np.ndarray, "B S"],
      max_lengths_B: Int32[np.ndarray, " B"],
      num_words_B: Int32[np.ndarray, " B"],
    ) -> SearchResult:
      job = source_BS, max_lengths_B, num_words_B, None
      return stages.search((params, gates, None), job, search.rooms(source_BS.shape[1]))

    return decode_batch

  return with_params
