"""Validation during training: perplexity of the validation split, and BLEU of real translations."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from transformer_jax import parallel
from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.prepare import Prepared
from transformer_jax.runs.search import Sentence, best_outputs, make_decode_batch
from transformer_jax.training.step import make_evaluation_step

Item = TypeVar("Item")

# The settings that an evaluation's scores depend on, besides the model and the text.
_SCORE_SETTINGS = (
  "bleu_sentences",
  "evaluation_beam_size",
  "max_extra_length",
  "max_source_length",
  "constrained",
)
# Those that matter only to a beam of several hypotheses.
_COMPARISON_SETTINGS = ("length_penalty", "length_penalty_form")


class EvaluationStopped(Exception):
  """A signal came during an evaluation."""


def never() -> bool:
  """Returns False: nothing stops the evaluation."""
  return False


class Validation:
  """A function (step, replicated params, should_stop) -> one line of metrics.

  It raises EvaluationStopped once `should_stop()` is true.
  """

  def __init__(self, config: Config, model: Transformer, prepared: Prepared) -> None:
    self._config = config.replace(beam_size=config.train.evaluation_beam_size)
    self._prepared = prepared
    self._task = prepared.task
    self._is_preprocessed = prepared.is_preprocessed("valid")
    self._evaluation_step = make_evaluation_step(model)
    self._decode_batch = make_decode_batch(model, self._config.decode, self._task.brackets())
    pairs = self._pairs_to_translate()
    self._references = [target for _, target in pairs]
    self._sentences = self._encode(source for source, _ in pairs)

  def _pairs_to_translate(self) -> list[tuple[str, str]]:
    """Returns the first `bleu_sentences` pairs of the split."""
    count = self._config.train.bleu_sentences
    if not count:
      return []
    return list(itertools.islice(self._prepared.source.pairs("valid"), count))

  def _encode(self, texts: Iterable[str]) -> list[Sentence]:
    """Returns the sentences to translate; reports, once for all evaluations, how many are cut."""
    cut_sources = CutSources(self._config)
    sentences = []
    for number, text in enumerate(texts, 1):
      tokens = self._task.encode_source(text, self._is_preprocessed)
      sentences.append(Sentence.of(text, cut_sources.cut(number, tokens)))
    cut_sources.report("valid")
    return sentences

  def __call__(
    self, step: int, params: Any, should_stop: Callable[[], bool] = never
  ) -> dict[str, Any]:
    start = time.perf_counter()
    loss = self.perplexity(params, should_stop)
    middle = time.perf_counter()
    scores = self._scores(params, should_stop) if self._sentences else {}
    return dict(
      step=step,
      split="valid",
      **loss,
      **scores,
      perplexity_seconds=middle - start,
      bleu_seconds=time.perf_counter() - middle,
    )

  def perplexity(self, params: Any, should_stop: Callable[[], bool] = never) -> dict[str, Any]:
    """Returns the cross-entropy per token and its exponential (Section 6.2), and token counts.

    EOS counts as a token. There is no smoothing and no dropout.
    """
    sums = None
    for batch in _until(should_stop, self._prepared.valid_batches(parallel.own_rows_of_update)):
      source_BS = parallel.split_rows(batch.source_BS)
      target_BT = parallel.split_rows(batch.target_BT)
      part = self._evaluation_step(params, source_BS, target_BT)
      sums = part if sums is None else jax.tree.map(jnp.add, sums, part)
    sums = parallel.to_host(sums)
    nll = float(sums.nll) / int(sums.target_tokens)
    return dict(
      loss=nll,
      perplexity=perplexity_of(nll),
      source_tokens=int(sums.source_tokens),
      target_tokens=int(sums.target_tokens),
    )

  def _scores(self, params: Any, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Returns the task's logged scores of the translations."""
    sentences = _until(should_stop, self._sentences)
    decode_batch = self._decode_batch(params)
    outputs = best_outputs(self._task, sentences, decode_batch, self._config.decode)
    scores = self._task.score(outputs, self._references, self._is_preprocessed)
    return {name: scores[name] for name in self._task.logged_scores}


def _until(should_stop: Callable[[], bool], items: Iterable[Item]) -> Iterator[Item]:
  """Yields the items; asks `should_stop` before each."""
  for item in items:
    if should_stop():
      raise EvaluationStopped
    yield item


def perplexity_of(nll: float) -> float:
  """Returns exp(nll), or infinity where that overflows."""
  return math.exp(nll) if nll < 700 else math.inf


def score_settings(config: Config) -> tuple[str, ...]:
  """Returns the names of the settings that scores depend on."""
  if config.train.evaluation_beam_size == 1:
    return _SCORE_SETTINGS
  # Named only where it is not the default, so that scores of older runs keep their kind.
  early = () if config.decode.early_stopping == "exact" else ("early_stopping",)
  return _SCORE_SETTINGS + _COMPARISON_SETTINGS + early
