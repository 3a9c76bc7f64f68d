"""Answers checked requests: text to tokens, through the queue, and back to what JSON can say."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from transformer_jax.analysis.attention.examples import examples
from transformer_jax.analysis.attention.maps import (
  AttentionMap,
  SentenceAttention,
  map_to_json,
  queries_and_keys,
  with_unknown,
)
from transformer_jax.analysis.attention.page import page_of_server, sentence_data
from transformer_jax.config import EOS_ID
from transformer_jax.errors import DataError
from transformer_jax.runs.cut_sources import longest_source
from transformer_jax.runs.search import Answer, Sentence
from transformer_jax.service.engine import Alignment, Engine, Look, Search, Switches
from transformer_jax.service.limits import Limits
from transformer_jax.service.problem import Problem
from transformer_jax.service.queue import Queue

_ANY_LANGUAGE = "1, 2, 3."  # the example where the language has none

Request = dict[str, Any]  # checked by its Record in `messages`


class Handlers:
  """What each path does. All methods run in the event loop, and wait for the queue.

  Args:
    engine: the model. Only the queue's thread searches with it and looks into it.
    limits: the service's limits.
  """

  queue: Queue

  def __init__(self, engine: Engine, limits: Limits) -> None:
    self._engine = engine
    self._limits = limits
    self._task = engine.model.task
    self.queue = Queue(self._answer, limits.max_waiting, limits.max_lines)

  def _answer(self, key: Search | Alignment | Switches, items: list[Any]) -> Sequence[Any]:
    """Answers, in the queue's thread, items that share batches."""
    if isinstance(key, Search):
      return self._engine.search(key, items)
    if isinstance(key, Alignment):
      return self._engine.align(key.switches, items)
    return [self._engine.look(key, source, target) for source, target in items]

  async def translate(self, request: Request) -> dict[str, Any]:
    """Returns TRANSLATIONS."""
    num_best, beam_size = request["num_best"], request["beam_size"]
    if num_best > beam_size:
      raise Problem(422, "num_best", f"{num_best} exceeds beam_size={beam_size}", "raise beam_size")
    lines = request["lines"]
    sentences = await asyncio.to_thread(self._encoded, lines)
    n_best_lists = await self.queue.ask(_search(request, num_best > 1), sentences)
    translations = [[_shown(each) for each in n_best[:num_best]] for n_best in n_best_lists]
    if request.get("alignment"):
      outputs = [
        (sentence.text, answer.tokens, answer.text)
        for sentence, n_best in zip(sentences, n_best_lists, strict=True)
        for answer in n_best[:num_best]
      ]
      links = await self.queue.ask(Alignment(_switches(request)), outputs)
      for shown, its_links in zip(itertools.chain(*translations), links, strict=True):
        shown["alignment"] = its_links
    return dict(translations=translations)

  def _encoded(self, lines: Iterable[str]) -> list[Sentence]:
    """Returns the sentences of a request.

    Raises:
      Problem: there are too many tokens.
    """
    sentences = []
    num_tokens = 0
    for number, line in enumerate(lines):
      sentences.append(self._engine.encode(line, f"lines[{number}]"))
      num_tokens += len(sentences[-1].tokens)
      if num_tokens > self._limits.max_tokens:
        most = f"at most {self._limits.max_tokens:,}"
        raise Problem(413, "lines", f"have {num_tokens:,} tokens and more", most)
    return sentences

  async def attention(self, request: Request) -> dict[str, Any]:
    """Returns ATTENTION, the content of attention.json."""
    sentence = await self._sentence(request["source"])
    if request["target"] is not None:
      if request["prefix"]:
        raise Problem(422, "prefix", "and target are both given", "leave one out")
      text, target = request["target"], await self._encoded_target(request["target"])
    else:
      text, target = await self._own_output(sentence, request)
    look = await self._look(request, sentence, target)
    return self._maps(sentence, text, target, look)

  async def step(self, request: Request) -> dict[str, Any]:
    """Returns STEPS."""
    sentence = await self._sentence(request["source"], request["source_tokens"])
    target = list(request["prefix"])
    if request["complete"]:
      text, target = await self._own_output(sentence, request)
    else:
      text = self._text(target, sentence.text)
    # After a prefix, the place of the next token is looked at as well, with any token in it.
    is_whole = request["complete"] or EOS_ID in target
    is_open = not is_whole and len(target) < self._engine.longest_output()
    look = await self._look(request, sentence, [*target, EOS_ID] if is_open else target)
    places = range(len(look.log_probs_T))
    steps = [self._step(look, place, target, request["num_rivals"]) for place in places]
    maps = self._maps(sentence, text, target, look, is_open)
    return dict(**maps, source_tokens=sentence.tokens, steps=steps)

  async def encode(self, request: Request) -> dict[str, Any]:
    """Returns ENCODED. A sentence may be empty: it has only its end."""
    sentence = await asyncio.to_thread(self._engine.encode, request["source"], "source")
    tokens = sentence.tokens or [EOS_ID]
    pieces = self._task.source_pieces(tokens)
    texts = [text or piece for text, piece in with_unknown(pieces, sentence.text)]
    texts[-1] = ""
    found = zip(tokens, pieces, texts, strict=True)
    return dict(tokens=[dict(token=token, piece=piece, text=text) for token, piece, text in found])

  async def decode(self, request: Request) -> dict[str, Any]:
    """Returns DECODED."""
    return dict(text=self._text(request["tokens"], ""))

  async def view(self, request: Request) -> dict[str, Any]:
    """Returns VIEW: what the explorer page shows of a sentence and an output."""
    sentence, target = await self._sentence(request["source"]), request["tokens"]
    look = await self._look(request, sentence, target)
    words = queries_and_keys(*self._words(sentence, target))
    maps = {}
    for name, (queries, keys) in words.items():
      found = look.vectors[name]
      vectors = (found["query"], found["key"], found["value"])
      maps[name] = AttentionMap(queries, keys, look.weights[name], *vectors)
    text = self._text(target, sentence.text)
    return sentence_data(SentenceAttention(sentence.text, text, maps))

  async def page(self, source: str) -> str:
    """Returns the explorer page, HTML text; it asks for what it shows.

    It begins with `source`, or with an example.
    """
    config = self._engine.model.config
    sentences = list(examples(config.data)) or [_ANY_LANGUAGE]
    if source:
      await self._sentence(source)
      sentences.insert(0, source)
    facts = dict(
      layers=config.model.num_layers,
      heads=config.model.num_heads,
      d_k=config.model.d_k,
      max_source=longest_source(config),
    )
    return page_of_server(facts, sentences)

  def health(self) -> dict[str, Any]:
    """Returns HEALTH."""
    config = self._engine.model.config
    return dict(
      status="ok",
      task=config.data.task,
      layers=config.model.num_layers,
      heads=config.model.num_heads,
      steps=self._engine.model.steps,
      waiting=len(self.queue),
    )

  async def _sentence(self, text: str | None, tokens: list[int] | None = None) -> Sentence:
    """Returns a sentence to look at, from its text or from its tokens.

    Raises:
      Problem: neither is given; it is empty or too long, or its tokens do not end.
    """
    if text is None and tokens is None:
      raise Problem(422, "source", "is missing", "give it or source_tokens")
    sentence = Sentence("", tokens or [])
    if text is not None:
      sentence = await asyncio.to_thread(self._engine.encode, text, "source")
    if tokens is not None:
      if len(tokens) < 2 or tokens[-1] != EOS_ID or EOS_ID in tokens[:-1]:
        problem = f"do not end in {EOS_ID}, the only one, after other tokens"
        raise Problem(422, "source_tokens", problem, "give what /encode returns")
      return Sentence(sentence.text, tokens)
    if not sentence.tokens:
      raise Problem(422, "source", "is empty for the model's tokenizer", "give a sentence")
    return sentence

  async def _encoded_target(self, text: str) -> list[int]:
    """Returns the tokens of a given output.

    Raises:
      Problem: it is no output of this task.
    """
    try:
      return await asyncio.to_thread(self._task.encode_target, text)
    except DataError as error:
      raise Problem(422, "target", error.problem, error.remedy) from None

  async def _own_output(self, sentence: Sentence, request: Request) -> tuple[str, list[int]]:
    """Returns text and tokens of the best output that begins with the prefix."""
    prefix = request["prefix"]
    self._check_output(sentence, prefix)
    if EOS_ID in prefix or len(prefix) >= self._engine.longest_output(sentence):
      return self._text(prefix, sentence.text), list(prefix)
    ((best, *_),) = await self.queue.ask(_search(request), [sentence])
    return best.text, [*best.tokens, *[EOS_ID] * best.is_finished]

  async def _look(self, request: Request, sentence: Sentence, target: list[int]) -> Look:
    self._check_output(sentence, target)
    if not target:
      raise Problem(422, "the output", "is empty", "give tokens")
    ((look),) = await self.queue.ask(_switches(request), [(sentence.tokens, target)])
    return look

  def _text(self, target: Sequence[int], source: str) -> str:
    """Returns the text of an output."""
    detokenize = self._engine.model.config.data.preprocessing != "none"
    return self._task.decode_target(target, source, detokenize).text

  def _check_output(self, sentence: Sentence, target: Sequence[int]) -> None:
    """Checks that the output may be so long, and the answer hold the weights.

    Raises:
      Problem: it may not, or the output goes on after its end.
    """
    if EOS_ID in target[:-1]:
      raise Problem(422, "the output", f"goes on after its end ({EOS_ID})", "let it end there")
    longest = self._engine.longest_output()
    if len(target) > longest:
      raise Problem(413, "the output", f"has {len(target):,} tokens", f"at most {longest:,}")
    model = self._engine.model.config.model
    S, T = len(sentence.tokens), len(target)
    num_weights = model.num_layers * model.num_heads * (S * S + T * T + T * S)
    if num_weights > self._limits.max_weights:
      most = f"at most {self._limits.max_weights:,}; give a shorter sentence"
      raise Problem(413, "the answer", f"has {num_weights:,} attention weights", most)

  def _maps(
    self,
    sentence: Sentence,
    text: str,
    target: Sequence[int],
    look: Look,
    is_open: bool = False,
  ) -> dict[str, Any]:
    """Returns the content of attention.json; `is_open`: the last place has no token yet."""
    words = queries_and_keys(*self._words(sentence, target, is_open))
    maps = {}
    for name, (queries, keys) in words.items():
      maps[name] = map_to_json(queries, keys, look.weights[name])
    return dict(source=sentence.text, target=text, **maps)

  def _words(
    self, sentence: Sentence, target: Sequence[int], is_open: bool = False
  ) -> tuple[list[str], list[str]]:
    """Returns the sub-words of both sides."""
    target_words = self._task.target_pieces(target) + [""] * is_open
    return self._task.source_pieces(sentence.tokens), target_words

  def _step(self, look: Look, place: int, target: Sequence[int], num_rivals: int) -> dict[str, Any]:
    """Returns what the model expected at a place of the output."""
    chosen = [self._token(target[place], look.log_probs_T[place])] if place < len(target) else []
    rivals = zip(look.rivals_TR[place], look.rival_log_probs_TR[place], strict=True)
    return dict(chosen=chosen, rivals=[self._token(*each) for each in rivals][:num_rivals])

  def _token(self, token: int, log_prob: np.floating[Any]) -> dict[str, Any]:
    (piece,) = self._task.target_pieces([int(token)])
    return dict(token=int(token), piece=piece, log_prob=float(log_prob))


def _shown(answer: Answer) -> dict[str, Any]:
  return dict(text=answer.text, log_prob=answer.log_prob, score=answer.score)


def _search(request: Request, has_more: bool = False) -> Search:
  return Search(
    request["beam_size"],
    request["length_penalty"],
    has_more,
    _switches(request),
    tuple(request.get("prefix", ())),
  )


def _switches(request: Request) -> Switches:
  heads = {
    (head["attention"], head["layer"] - 1, head["head"] - 1) for head in request["closed_heads"]
  }
  return Switches(tuple(sorted(heads)), request["divide"])
