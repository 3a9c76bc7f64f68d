"""What each head of a trained model is worth: importance by gradient, what it looks at, and the model without it.

Importance is Michel et al. 2019's, confidence and the roles are after Voita et al. 2019. A head is (attention, layer, number);
attention is "encoder", "decoder" or "cross".
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax import parallel
from transformer_jax.config import PAD_ID
from transformer_jax.decoding.generate import Source
from transformer_jax.model.head_gates import ATTENTIONS, HeadGates
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.search import answer_sources, make_decode_batch
from transformer_jax.runs.validation import perplexity_of
from transformer_jax.training.label_smoothing import nll_of_targets

POSITIONAL_SHARE = 0.9  # of a head's maxima at one offset (Voita et al. 2019)
EOS_SHARE = 0.5  # of its maxima on the end of the sentence
ALIGNMENT = 0.8  # correlation of where it looks with where it is


class HeadStudy:
  """A translator's heads, measured on pairs of sentences."""

  def __init__(self, translator, pairs, is_preprocessed=False, bleu_sentences=200, batch_size=32):
    """Encodes the pairs.

    Args:
      translator: a TrainedModel.
      pairs: list of (source, target) texts.
      is_preprocessed: whether they have been through the run's preprocessing.
      bleu_sentences: how many of them are translated for BLEU.
      batch_size: sentences at once.
    """
    self._translator, self._task, self._model = translator, translator.task, translator.model
    self._config, self._params, self._replicated = (
      translator.config,
      jax.device_put(translator.params),
      parallel.replicate(translator.params),
    )
    self._is_preprocessed = is_preprocessed
    self._texts = [source for source, _ in pairs]
    self._sources = self._encode("sources", self._task.encode_source, self._texts)
    targets = [target for _, target in pairs]
    self._targets = self._encode("targets", self._task.encode_target, targets)
    self._references = [target for _, target in pairs[:bleu_sentences]]
    self._batches = list(self._batched(batch_size))
    self._decode_batch = make_decode_batch(self._model, self._config.decode, self._task.brackets())
    self._sum_nll = jax.jit(
      lambda params, gates, source, target: jnp.sum(
        _nll_B(self._model, params, gates, source, target)
      )
    )

  def _encode(self, name, encode, texts):
    """Tokens of one side of the pairs; what the model does not take in is cut off, and that is said."""
    cut_sources = CutSources(self._config)
    encoded = (encode(text, self._is_preprocessed) for text in texts)
    tokens = [cut_sources.cut(number, one) for number, one in enumerate(encoded, 1)]
    cut_sources.report(name)
    return tokens

  @property
  def heads(self):
    """Every (attention, layer, number)."""
    model = self._config.model
    return [
      (attention, layer, head)
      for attention in ATTENTIONS
      for layer in range(model.num_layers)
      for head in range(model.num_heads)
    ]

  @property
  def open(self):
    """Gates that change nothing."""
    return HeadGates.open(self._config.model)

  def without(self, heads):
    """Gates in which these heads are closed."""
    gates = {name: np.array(array) for name, array in vars(self.open).items()}
    for attention, layer, head in heads:
      gates[attention][layer, head] = 0.0
    return HeadGates(**gates)

  def alone(self, head):
    """Gates in which the other heads of its layer and attention are closed."""
    return self.without([other for other in self.heads if other[:2] == head[:2] and other != head])

  def perplexity(self, gates):
    """Per token, EOS included, without smoothing."""
    total = sum(float(self._sum_nll(self._params, gates, *batch)) for batch in self._batches)
    return perplexity_of(total / sum(map(len, self._targets)))

  def score(self, gates):
    """The task's main score (BLEU) of translations of the first sentences."""
    task = self._task
    decode_batch = self._decode_batch(self._replicated, parallel.replicate(gates))
    count = len(self._references)
    sources = [
      Source(tokens, task.count_words(text))
      for tokens, text in zip(self._sources[:count], self._texts[:count], strict=True)
    ]
    best = answer_sources(sources, decode_batch, self._config.decode)
    outputs = [
      task.decode_target(n_best[0].tokens, text)
      for n_best, text in zip(best, self._texts[:count], strict=True)
    ]
    return task.score(outputs, self._references, self._is_preprocessed)[task.main_score]

  def importance(self):
    """I_h = E_x |d L(x) / d gate_h|, L(x) the negative log-likelihood of a sentence (Michel et al. 2019): head -> nats.

    One backward pass gives a batch's gradients sentence by sentence, as every sentence has gates of its own.
    """

    @jax.jit
    def gradient_sums(params, source_BS, target_BT):
      shared = HeadGates.open(self._config.model)
      gates = jax.tree.map(
        lambda g_NH: jnp.broadcast_to(
          g_NH[:, None], (g_NH.shape[0], source_BS.shape[0], g_NH.shape[1])
        ),
        shared,
      )
      gradient = jax.grad(lambda g: jnp.sum(_nll_B(self._model, params, g, source_BS, target_BT)))(
        gates
      )
      return jax.tree.map(lambda g_NBH: jnp.sum(jnp.abs(g_NBH), axis=1), gradient)

    totals = None
    for batch in self._batches:
      part = gradient_sums(self._params, *batch)
      totals = part if totals is None else jax.tree.map(jnp.add, totals, part)
    totals = jax.device_get(totals)
    return {
      (a, layer, h): float(getattr(totals, a)[layer, h]) / len(self._sources)
      for a, layer, h in self.heads
    }

  def looks(self):
    """What each head looks at: head -> dict of confidence, entropy, the most frequent offset and its share, ... and its role.

    Rows of EOS are left out, as are padding and, for confidence, the weight on EOS.
    """
    weights_of = jax.jit(functools.partial(self._model.apply, method="attention_weights"))
    found = {head: _Looks() for head in self.heads}
    for source_BS, target_BT in self._batches:
      weights = jax.device_get(weights_of({"params": self._params}, source_BS, target_BT))
      for row, (source_S, target_T) in enumerate(zip(source_BS, target_BT, strict=True)):
        num_source, num_target = (int(np.sum(tokens != PAD_ID)) for tokens in (source_S, target_T))
        for attention, num_queries, num_keys in (
          ("encoder", num_source, num_source),
          ("decoder", num_target, num_target),
          ("cross", num_target, num_source),
        ):
          # The decoder's key at place s is the target before place s; no key of its own attention is EOS.
          eos = None if attention == "decoder" else num_keys - 1
          for layer, head in np.ndindex(*weights[attention].shape[:1], weights[attention].shape[2]):
            found[attention, layer, head].add(
              weights[attention][layer, row, head, :num_queries, :num_keys][: num_queries - 1], eos
            )
    return {head: looks.summary(is_cross=head[0] == "cross") for head, looks in found.items()}

  def _batched(self, size):
    """int32 (sources, targets) of like lengths; a batch may end in rows of padding, which add nothing."""
    order = sorted(
      range(len(self._sources)), key=lambda i: (len(self._sources[i]), len(self._targets[i]))
    )
    for start in range(0, len(order), size):
      rows = order[start : start + size]
      yield tuple(_pad([side[i] for i in rows], size) for side in (self._sources, self._targets))


def _nll_B(model, params, gates, source_BS, target_BT):
  """Negative log-likelihood of each sentence, nats."""
  variables = {"params": params}
  outputs_BTD, matrix_CD = model.apply(
    variables, source_BS, target_BT, gates=gates, method="before_logits"
  )
  return jnp.sum(nll_of_targets(outputs_BTD, matrix_CD, target_BT), axis=-1)


def _pad(sequences, rows):
  """int32 [rows, width], widths multiples of 8, so that few shapes are compiled."""
  padded = np.full((rows, -(-max(map(len, sequences)) // 8) * 8), PAD_ID, np.int32)
  for row, sequence in zip(padded, sequences):
    row[: len(sequence)] = sequence
  return padded


class _Looks:
  """Sums over the rows of one head's attention."""

  def __init__(self):
    self._maxima, self._entropies, self._on_eos, self._offsets, self._places = [], [], [], [], []

  def add(self, weights_TS, eos):
    """The rows of one sentence; `eos` is the key of EOS, or None."""
    if not len(weights_TS):
      return
    best_T, here_T = weights_TS.argmax(axis=1), np.arange(len(weights_TS))
    self._entropies.append(-np.sum(weights_TS * np.log(np.maximum(weights_TS, 1e-30)), axis=1))
    self._on_eos.append(best_T == eos if eos is not None else np.zeros(len(best_T), bool))
    self._maxima.append(
      (weights_TS if eos is None else weights_TS[:, :eos]).max(axis=1, initial=0.0)
    )
    self._offsets.append(best_T - here_T)
    self._places.append(
      np.stack([here_T / max(len(weights_TS) - 1, 1), best_T / max(weights_TS.shape[1] - 1, 1)])
    )

  def summary(self, is_cross):
    """The figures, and the role that they give."""
    offsets, on_eos = np.concatenate(self._offsets), np.concatenate(self._on_eos)
    values, counts = np.unique(offsets, return_counts=True)
    here, there = np.concatenate(self._places, axis=1)
    correlation = (
      float(np.corrcoef(here, there)[0, 1]) if np.std(there) > 0 and np.std(here) > 0 else 0.0
    )
    result = dict(
      confidence=float(np.mean(np.concatenate(self._maxima))),
      entropy=float(np.mean(np.concatenate(self._entropies))),
      offset=int(values[counts.argmax()]),
      offset_share=float(counts.max() / len(offsets)),
      eos_share=float(np.mean(on_eos)),
      alignment=correlation,
    )
    return dict(result, role=_role(result, is_cross))


def _role(looks, is_cross):
  """A name for what a head mostly does; "-" where none of the thresholds is met."""
  if looks["offset_share"] >= POSITIONAL_SHARE:
    return f"position {looks['offset']:+d}"
  if looks["eos_share"] >= EOS_SHARE:
    return "end of sentence"
  if is_cross and looks["alignment"] >= ALIGNMENT:
    return "alignment"
  return "-"


def rank_correlation(one, other):
  """Spearman's: Pearson's of the ranks, ties sharing their mean rank."""
  ranks = []
  for values in (np.asarray(one, float), np.asarray(other, float)):
    below = np.sum(values[None] < values[:, None], axis=1)
    equal = np.sum(values[None] == values[:, None], axis=1)
    ranks.append(below + (equal - 1) / 2)
  return float(np.corrcoef(*ranks)[0, 1])


def within_layer(importance):
  """Importances divided by the l2 norm of their layer and attention, as Michel et al. compare heads of different layers."""
  norms = {}
  for (attention, layer, _), value in importance.items():
    norms[attention, layer] = norms.get((attention, layer), 0.0) + value * value
  return {head: value / max(norms[head[:2]] ** 0.5, 1e-30) for head, value in importance.items()}
