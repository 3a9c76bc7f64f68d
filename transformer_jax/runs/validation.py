"""How good the model is on the validation split while it trains: perplexity, and BLEU of real translations."""

import itertools
import math
import time

import jax
import jax.numpy as jnp

from transformer_jax import parallel
from transformer_jax.decoding.generate import Source
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.search import answer_sources, make_decode_batch
from transformer_jax.training.step import make_evaluation_step


class EvaluationStopped(Exception):
  """A signal came."""


class Validation:
  """A function (step, replicated params, should_stop) -> one line of metrics.

  Raises EvaluationStopped once `should_stop()` is true.
  """

  def __init__(self, config, model, prepared):
    self._config = config.replace(beam_size=config.train.evaluation_beam_size)
    self._prepared = prepared
    self._evaluation_step = make_evaluation_step(model)
    self._decode_batch = make_decode_batch(model, self._config.decode, prepared.task.brackets())
    wanted = config.train.bleu_sentences
    pairs = list(itertools.islice(prepared.source.pairs("valid"), wanted)) if wanted else []
    self._texts, self._references = [s for s, _ in pairs], [t for _, t in pairs]
    self._sources = self._encode(prepared.task)

  def _encode(self, task):
    """The sources that are translated; those that are cut are told, once for all evaluations."""
    cut_sources, is_preprocessed = CutSources(self._config), self._prepared.is_preprocessed("valid")
    sources = [
      Source(
        cut_sources.cut(number, task.encode_source(text, is_preprocessed)), task.count_words(text)
      )
      for number, text in enumerate(self._texts, 1)
    ]
    cut_sources.say("valid")
    return sources

  def __call__(self, step, params, should_stop=lambda: False):
    start = time.perf_counter()
    loss = self.perplexity(params, should_stop)
    middle = time.perf_counter()
    scores = self._bleu(params, should_stop) if self._sources else {}
    return dict(
      step=step,
      split="valid",
      **loss,
      **scores,
      perplexity_seconds=middle - start,
      bleu_seconds=time.perf_counter() - middle,
    )

  def perplexity(self, params, should_stop=lambda: False):
    """Cross-entropy without smoothing and dropout per token, EOS included, and its exponential (Section 6.2)."""
    sums = None
    for batch in _until(should_stop, self._prepared.valid_batches()):
      part = self._evaluation_step(
        params, parallel.shard_rows(batch.source_BS), parallel.shard_rows(batch.target_BT)
      )
      sums = part if sums is None else jax.tree.map(jnp.add, sums, part)
    sums = parallel.to_host(sums)
    nll = float(sums.nll) / int(sums.target_tokens)
    return dict(
      loss=nll,
      perplexity=perplexity_of(nll),
      source_tokens=int(sums.source_tokens),
      target_tokens=int(sums.target_tokens),
    )

  def _bleu(self, params, should_stop):
    task, is_preprocessed = self._prepared.task, self._prepared.is_preprocessed("valid")
    best = answer_sources(
      _until(should_stop, self._sources), self._decode_batch(params), self._config.decode
    )
    outputs = [
      task.decode_target(n_best[0].tokens, source)
      for n_best, source in zip(best, self._texts, strict=True)
    ]
    scores = task.score(outputs, self._references, is_preprocessed)
    return {name: scores[name] for name in task.logged_scores}


def _until(should_stop, items):
  """Yields the items; asks before each."""
  for item in items:
    if should_stop():
      raise EvaluationStopped
    yield item


def perplexity_of(nll):
  """exp(nll), or infinity where that overflows."""
  return math.exp(nll) if nll < 700 else math.inf
