"""The contribution of each head of a trained model: by gradient, by weights, and by removing it.

Importance is that of Michel et al. 2019. `looks` has the statistics of the weights.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from transformer_jax import parallel
from transformer_jax.analysis.heads.looks import Looks
from transformer_jax.config import PAD_ID
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.errors import DataError
from transformer_jax.model.head_gates import ATTENTIONS, HeadGates
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.search import Sentence, best_outputs, make_decode_batch
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.training.label_smoothing import sequence_log_probs

_WIDTH_MULTIPLE = 8  # widths of batches are multiples of this, so that few shapes are compiled


class Head(NamedTuple):
  """A head of a model."""

  attention: str  # "encoder", "decoder" or "cross"
  layer: int
  number: int


class HeadStudy:
  """Measures a model's heads on pairs of sentences."""

  def __init__(
    self,
    translator: TrainedModel,
    pairs: Sequence[tuple[str, str]],
    is_preprocessed: bool = False,
    bleu_sentences: int = 200,
    batch_size: int = 32,
  ) -> None:
    """Encodes the pairs.

    Args:
      translator: the trained model.
      pairs: (source, target) texts.
      is_preprocessed: whether they have been through the run's preprocessing.
      bleu_sentences: how many of them are translated for BLEU.
      batch_size: sentences at once.
    """
    self._task = translator.task
    self._model = translator.model
    self._config = translator.config
    self._is_preprocessed = is_preprocessed
    self._params = jax.device_put(translator.params)
    self._replicated = parallel.replicate(translator.params)
    for number, pair in enumerate(pairs, 1):
      if problem := self._task.problem_of(*pair):
        raise DataError(f"pair {number}", problem)
    texts = [source for source, _ in pairs]
    targets = [target for _, target in pairs]
    self._sources = self._encoded("sources", self._task.encode_source, texts)
    self._targets = self._encoded("targets", self._task.encode_target, targets)
    self._batches = list(self._make_batches(batch_size))
    self._sentences = [
      Sentence.of(text, tokens) for text, tokens in zip(texts, self._sources, strict=True)
    ][:bleu_sentences]
    self._references = targets[:bleu_sentences]
    self._decode_batch = make_decode_batch(self._model, self._config.decode, self._task.brackets())
    self._sum_nll = jax.jit(self._summed_nll)
    self._gradients = jax.jit(self._summed_gradients)

  def _encoded(
    self, name: str, encode: Callable[[str, bool], list[int]], texts: Iterable[str]
  ) -> list[list[int]]:
    """Returns the tokens of one side. Sentences beyond the model's limit are cut and reported."""
    cut_sources = CutSources(self._config)
    tokens = []
    for number, text in enumerate(texts, 1):
      tokens.append(cut_sources.cut(number, encode(text, self._is_preprocessed)))
    cut_sources.report(name)
    return tokens

  def _make_batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields int32 (sources, targets) of similar lengths.

    The last batch may end in rows of padding, which add nothing.
    """
    lengths = [
      (len(source), len(target))
      for source, target in zip(self._sources, self._targets, strict=True)
    ]
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for start in range(0, len(order), size):
      rows = order[start : start + size]
      sources = _padded([self._sources[row] for row in rows], size)
      targets = _padded([self._targets[row] for row in rows], size)
      yield sources, targets

  @property
  def heads(self) -> list[Head]:
    """All heads of the model."""
    model = self._config.model
    return [
      Head(attention, layer, number)
      for attention in ATTENTIONS
      for layer in range(model.num_layers)
      for number in range(model.num_heads)
    ]

  @property
  def open(self) -> HeadGates:
    """Gates that change nothing."""
    return HeadGates.open(self._config.model)

  def without(self, heads: Iterable[Head]) -> HeadGates:
    """Returns gates that close these heads."""
    return self.open.without(heads)

  def alone(self, head: Head) -> HeadGates:
    """Returns gates that close the other heads of its layer and attention."""
    same_layer = [other for other in self.heads if other[:2] == head[:2]]
    return self.without(other for other in same_layer if other != head)

  def perplexity(self, gates: HeadGates) -> float:
    """Returns the perplexity per token, EOS included, without label smoothing."""
    total = sum(float(self._sum_nll(self._params, gates, *batch)) for batch in self._batches)
    return perplexity_of(total / sum(map(len, self._targets)))

  def _summed_nll(
    self,
    params: Any,
    gates: HeadGates,
    source_BS: Int32[Array, "B S"],
    target_BT: Int32[Array, "B T"],
  ) -> Float32[Array, ""]:
    """Returns the negative log-likelihood of the sentences, nats."""
    return -jnp.sum(sequence_log_probs(self._model, params, source_BS, target_BT, gates))

  def score(self, gates: HeadGates) -> float:
    """Returns the task's main score (BLEU) of the answers to the first sentences."""
    decode_batch = self._decode_batch(self._replicated, parallel.replicate(gates))
    outputs = best_outputs(self._task, self._sentences, decode_batch, self._config.decode)
    scores = self._task.score(outputs, self._references, self._is_preprocessed)
    return scores[self._task.main_score]

  def importance(self, closed: Collection[Head] = ()) -> dict[Head, float]:
    """Returns the importance of each head, nats (Michel et al. 2019).

    It is I_h = E_x |d L(x) / d gate_h|, where L(x) is the negative log-likelihood of a sentence.
    Each sentence has its own gates, so one backward pass gives the gradients of a batch sentence by
    sentence.

    Args:
      closed: heads that the model is without.
    """
    totals = jax.tree.map(jnp.zeros_like, self.open)
    gates = self.without(closed) if closed else None
    for batch in self._batches:
      totals = jax.tree.map(jnp.add, totals, self._gradients(self._params, *batch, gates))
    by_attention = vars(jax.device_get(totals))
    return {
      head: float(by_attention[head.attention][head.layer, head.number]) / len(self._sources)
      for head in self.heads
    }

  def greedy_order(self, count: int) -> list[Head]:
    """Returns `count` heads in the order in which they are closed, the least important first.

    Importance is measured again after each: a backward pass over the text for each head.
    """
    closed: list[Head] = []
    while len(closed) < count:
      importance = self.importance(closed)
      still_open = [head for head in self.heads if head not in closed]
      closed.append(min(still_open, key=importance.__getitem__))
    return closed

  def _summed_gradients(
    self,
    params: Any,
    source_BS: Int32[Array, "B S"],
    target_BT: Int32[Array, "B T"],
    gates: HeadGates | None,
  ) -> HeadGates:
    """Returns each gate's gradient, its absolute value summed over the sentences.

    Without `gates` all are open.
    """
    num_sentences = source_BS.shape[0]

    def for_each_sentence(gates_NH):
      num_layers, num_heads = gates_NH.shape
      return jnp.broadcast_to(gates_NH[:, None], (num_layers, num_sentences, num_heads))

    gates = jax.tree.map(for_each_sentence, self.open if gates is None else gates)
    nll = lambda gates: self._summed_nll(params, gates, source_BS, target_BT)
    gradient = jax.grad(nll)(gates)
    return jax.tree.map(lambda gradient_NBH: jnp.sum(jnp.abs(gradient_NBH), axis=1), gradient)

  def looks(self) -> dict[Head, dict[str, Any]]:
    """Returns statistics of what each head attends to: head -> `Looks.summary`.

    The queries of EOS and of padding are left out.
    """
    attention_weights = jax.jit(functools.partial(self._model.apply, method="attention_weights"))
    found = {head: Looks() for head in self.heads}
    for source_BS, target_BT in self._batches:
      weights = attention_weights({"params": self._params}, source_BS, target_BT)
      _add_batch(found, jax.device_get(weights), source_BS, target_BT)
    return {
      head: looks.summary(is_cross=head.attention == "cross") for head, looks in found.items()
    }


def _add_batch(
  found: Mapping[Head, Looks],
  weights: Mapping[str, Float32[np.ndarray, "N B H T S"]],
  source_BS: Int32[np.ndarray, "B S"],
  target_BT: Int32[np.ndarray, "B T"],
) -> None:
  """Adds the rows of all heads for a batch."""
  source_lengths_B = np.sum(source_BS != PAD_ID, axis=1)
  target_lengths_B = np.sum(target_BT != PAD_ID, axis=1)
  sides = dict(
    encoder=(source_lengths_B, source_lengths_B),
    decoder=(target_lengths_B, target_lengths_B),
    cross=(target_lengths_B, source_lengths_B),
  )
  for head, looks in found.items():
    weights_BTS = weights[head.attention][head.layer, :, head.number]
    query_lengths_B, key_lengths_B = sides[head.attention]
    for weights_TS, num_queries, num_keys in zip(
      weights_BTS, query_lengths_B, key_lengths_B, strict=True
    ):
      # The decoder's key at position s is the target token before s, so no key of its
      # self-attention is EOS.
      eos = None if head.attention == "decoder" else num_keys - 1
      if num_queries:
        looks.add(weights_TS[: num_queries - 1, :num_keys], eos)


def _padded(sequences: Sequence[Sequence[int]], rows: int) -> Int32[np.ndarray, "rows width"]:
  """Returns int32 [rows, width]; the width is rounded up to a multiple of `_WIDTH_MULTIPLE`."""
  longest = max(map(len, sequences))
  width = math.ceil(longest / _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE
  return pad_rows(sequences, rows, width)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
  """Returns Spearman's rank correlation, that of the ranks; ties share their mean rank."""
  return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
  array = np.asarray(values, float)
  below = np.sum(array[None] < array[:, None], axis=1)
  equal = np.sum(array[None] == array[:, None], axis=1)
  return below + (equal - 1) / 2


def within_layer(importance: Mapping[Head, float]) -> dict[Head, float]:
  """Returns importances divided by the l2 norm over the heads of the same layer and attention.

  Michel et al. compare heads of different layers in this way.
  """
  squares: dict[tuple, float] = {}
  for head, value in importance.items():
    squares[head[:2]] = squares.get(head[:2], 0.0) + value * value
  return {head: value / max(squares[head[:2]] ** 0.5, 1e-30) for head, value in importance.items()}


def log_rise(masked: float, whole: float) -> float:
  """Returns the rise of the log-perplexity from `whole` to `masked`.

  It is NaN if the perplexity of the whole model is not finite.
  """
  return math.log(masked / whole) if math.isfinite(whole) else math.nan
