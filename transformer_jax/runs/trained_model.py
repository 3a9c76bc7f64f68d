"""A trained run, loaded: translates, scores pairs, shows attention. `transformer_jax.load` gives one."""

import collections
import dataclasses
import functools
import itertools
import sys

import jax.numpy as jnp
import numpy as np

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints, average_params
from transformer_jax.config import Config
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.decoding.generate import Source, plan_batches, width_for
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.runs.build import build_model, build_task, parameter_shapes
from transformer_jax.runs.cut_sources import CutSources
from transformer_jax.runs.search import answer_sources, cut, longest_source, make_decode_batch, pad
from transformer_jax.tasks.task import Output
from transformer_jax.training.label_smoothing import nll_of_targets
from transformer_jax.workdir.folder import Workdir

_VECTORS = ("query", "key", "value")  # the projections' names in the model
_MODULES = dict(
  encoder=("encoder", "self_attention"),
  decoder=("decoder", "self_attention"),
  cross=("decoder", "cross_attention"),
)
_WINDOW = 1024  # pairs that are sorted by length and scored before the first is answered


@dataclasses.dataclass(frozen=True)
class Answer:
  """One hypothesis: its text, log-probability in nats (EOS included), length-penalised score, and whether a tree was repaired."""

  text: str
  log_prob: float
  score: float
  is_repaired: bool = False


class TrainedModel:
  """A model with its task and decoding settings. Make one with `TrainedModel.load`."""

  def __init__(self, config, task, model, params, steps):
    self.config, self.task, self.model, self.steps = config, task, model, steps
    self._params = parallel.replicate(params)
    self._searches = {}  # num_best -> decode_batch
    self._log_probs = parallel.on_devices(functools.partial(_log_probs, model))

  @property
  def params(self):
    """The parameters, one copy of numpy arrays."""
    return parallel.to_host(self._params)

  @classmethod
  def load(cls, workdir, step=None, **settings):
    """Loads a run.

    Args:
      workdir: its folder.
      step: the checkpoint to take; by default the latest, or the average of the last `average_last`.
      **settings: decoding settings that override the run's.

    Raises:
      ConfigError: both a step and several checkpoints to average are named.
    """
    if step is not None and (settings.get("average_last") or 1) > 1:
      raise ConfigError(
        f"--average_last={settings['average_last']}",
        f"averages the latest checkpoints, and --step={step} names one",
        "leave one out",
      )
    parallel.start_up()
    folder = Workdir(workdir, primary=False)
    config = Config.from_flat(folder.read_config()).override(settings)
    task = build_task(config.data, load_tokenizer(folder.tokenizer))
    model = build_model(config, task)
    checkpoints = Checkpoints(folder.checkpoints, read_only=True)
    steps = _steps_to_average(checkpoints, config, step, folder.path)
    return cls(
      config, task, model, average_params(checkpoints, parameter_shapes(model), steps), steps
    )

  def translate(self, sentences, is_preprocessed=False, detokenize=False):
    """The best translation of each sentence, a list of strings; an empty sentence gives an empty one.

    Raises:
      TypeError: `sentences` is one text, or holds something else than texts.
    """
    return [output.text for output in self.outputs(sentences, is_preprocessed, detokenize)]

  def outputs(self, sentences, is_preprocessed=False, detokenize=False):
    """The same as Outputs, the task's answers."""
    return [
      Output(n_best[0].text, n_best[0].is_repaired) if n_best else Output("")
      for n_best in self.n_best(sentences, 1, is_preprocessed, detokenize)
    ]

  def n_best(
    self,
    sentences,
    num_best,
    is_preprocessed=False,
    detokenize=False,
    on_cut=lambda number, length: None,
    is_at_hand=lambda: True,
  ):
    """Yields the `num_best` Translations of each sentence, best first, in order; an empty list for an empty one.

    Reads no further ahead than a window, so it serves endless input, and answers what it has before
    it waits for a sentence that is not at hand. `on_cut(number, tokens)` hears of each sentence
    (counted from 1) that was cut to `max_source_length`; `is_at_hand()` is whether the next
    sentence can be had without waiting.

    Raises:
      TypeError: `sentences` is one text, or holds something else than texts.
      ValueError: `num_best` is below 1.
    """
    if num_best < 1:
      raise ValueError(f"num_best is {num_best}, and at least 1 is to be searched for")
    return self._n_best(
      _texts(sentences, "sentence"), num_best, is_preprocessed, detokenize, on_cut, is_at_hand
    )

  def _n_best(self, sentences, num_best, is_preprocessed, detokenize, on_cut, is_at_hand):
    waiting = collections.deque()  # the sentences that were read, and are not answered

    def sources():
      limit = longest_source(self.config)
      for number, sentence in enumerate(sentences, 1):
        source = self.task.encode_source(sentence, is_preprocessed)
        waiting.append(sentence)
        if len(source) > limit:
          on_cut(number, len(source))
        num_words = self.task.count_words(sentence)
        yield Source(cut(source, limit), num_words) if len(source) > 1 else None

    best = answer_sources(
      sources(),
      self._search(num_best),
      self.config.decode,
      num_best=num_best,
      is_at_hand=is_at_hand,
    )
    for hypotheses in best:
      sentence = waiting.popleft()
      outputs = [self.task.decode_target(h.tokens, sentence, detokenize) for h in hypotheses]
      yield [
        Answer(o.text, h.log_prob, h.score, o.is_repaired)
        for o, h in zip(outputs, hypotheses, strict=True)
      ]

  def _search(self, num_best):
    """decode_batch for so many outputs a sentence."""
    if num_best not in self._searches:
      with_params = make_decode_batch(
        self.model, self.config.decode, self.task.brackets(), num_best
      )
      self._searches[num_best] = with_params(self._params)
    return self._searches[num_best]

  def attention(self, source, target=None, is_preprocessed=False):
    """All attention for a sentence and its translation, or a given target.

    Returns:
      dict: "source" and "target", the sub-words S and T (EOS included); "target_text"; the weights, float32 arrays "encoder"
      [N, H, S, S], "decoder" [N, H, T, T], "cross" [N, H, T, S], where row t belongs to the position that predicts target t; and
      "vectors", what they come from: for each of the three a dict of "query" [N, H, ., K], "key" [N, H, ., K], "value" [N, H, ., V].

    Raises:
      TypeError: the sentence or its output is no text.
      ValueError: the sentence or its output is empty, or longer than the model takes.
    """
    list(_texts([source] if target is None else [source, target], "text"))
    task, limit = self.task, longest_source(self.config)
    text = self.translate([source], is_preprocessed)[0] if target is None else target
    source_S = task.encode_source(source, is_preprocessed)
    target_T = task.encode_target(text, is_preprocessed or target is None) if text else []
    if not text or len(source_S) == 1:
      raise ValueError("there is nothing to look at: the sentence or its output is empty")
    for name, tokens in (("sentence", source_S), ("output", target_T)):
      if len(tokens) > limit:
        raise ValueError(
          f"the {name} has {len(tokens)} tokens, and the model takes {limit} (--max_source_length)"
        )
    weights, state = self.model.apply(
      {"params": self.params},
      np.array([source_S], np.int32),
      np.array([target_T], np.int32),
      method="attention_weights",
      capture_intermediates=lambda module, _: module.name in _VECTORS,
      mutable=["intermediates"],
    )
    return dict(
      source=task.source_pieces(source_S),
      target=task.target_pieces(target_T),
      target_text=text,
      vectors={name: _vectors(state["intermediates"], name) for name in weights},
      **{name: np.asarray(array)[:, 0] for name, array in weights.items()},
    )

  def log_probs(self, pairs, is_preprocessed=False):
    """Yields (log-probability in nats, target tokens with EOS) of each (source, target), in order.

    Sources are cut as `translate` does.

    Raises:
      TypeError: `pairs` is one text, or holds something else than pairs of texts.
      DataError: a target is longer than a table of positions, or than what is computed at once.
    """
    return self.log_probs_of(self.encoded_pairs(pairs, is_preprocessed))

  def encoded_pairs(
    self, pairs, is_preprocessed=False, cut_sources=None, name="target", separator=" "
  ):
    """Yields (source tokens, target tokens), EOS included, of each pair of texts.

    Sources are cut to what the model takes in.

    Args:
      pairs: (source, target) texts.
      is_preprocessed: whether they have been through the run's preprocessing.
      cut_sources: CutSources that hears of what is cut.
      name, separator: errors name pair i by `name`, `separator` and i.

    Raises:
      As `log_probs`.
    """
    cut_sources = cut_sources or CutSources(self.config)
    if isinstance(pairs, (str, bytes)):
      raise TypeError("pairs is one text, where a list of (source, target) is wanted")
    return self._encoded_pairs(pairs, is_preprocessed, cut_sources, f"{name}{separator}")

  def _encoded_pairs(self, pairs, is_preprocessed, cut_sources, name):
    for number, pair in enumerate(pairs, 1):
      if isinstance(pair, (str, bytes)):
        raise TypeError(f"pair {number} is one text, where (source, target) is wanted")
      what = f"pair {number}, text"
      source, target = (_checked_text(what, side, text) for side, text in enumerate(pair, 1))
      try:
        tokens = self.task.encode_target(target, is_preprocessed)
      except DataError as error:
        raise DataError(f"{name}{number}", error.problem, error.remedy) from None
      if problem := self._why_too_long(len(tokens)):
        raise DataError(f"{name}{number}", *problem)
      yield cut_sources.cut(number, self.task.encode_source(source, is_preprocessed)), tokens

  def log_probs_of(self, encoded):
    """The same as `log_probs` of `encoded_pairs`."""
    batch_tokens = self.config.decode.decode_batch_tokens
    for window in _windows(encoded, _WINDOW):
      log_probs = np.zeros(len(window), np.float32)
      lengths = [max(map(len, pair)) for pair in window]
      for indices, (rows, _) in plan_batches(lengths, batch_tokens, parallel.num_devices()):
        sides = zip(*(window[index] for index in indices), strict=True)
        padded = [pad(side, rows, width_for(max(map(len, side)))) for side in sides]
        log_probs_B = self._log_probs(self._params, *map(parallel.shard_rows, padded))
        log_probs[indices] = parallel.gather_rows(log_probs_B, len(indices))
      for log_prob, (_, target) in zip(log_probs, window, strict=True):
        yield float(log_prob), len(target)

  def _why_too_long(self, length):
    """Why a target of so many tokens cannot be scored: (problem, remedy), or None."""
    model, decode = self.config.model, self.config.decode
    if model.positions == "learned" and length > model.max_positions:
      room = f"the model's table has --max_positions={model.max_positions}"
      return f"has {length} tokens, and {room}", "leave it out"
    if length > max(decode.decode_batch_tokens, decode.max_source_length):
      room = f"--decode_batch_tokens={decode.decode_batch_tokens} are computed at once"
      return f"has {length} tokens, and {room}", "leave it out, or raise --decode_batch_tokens"
    return None


def _vectors(intermediates, name):
  """query, key, value -> what an attention's projections gave, float32 [N, H, positions, width]."""
  stack, module = _MODULES[name]
  layers = [
    intermediates[stack][f"layer_{number}"][module] for number in range(len(intermediates[stack]))
  ]
  return {
    kind: np.stack(
      [np.asarray(layer[kind]["__call__"][0][0], np.float32).swapaxes(0, 1) for layer in layers]
    )
    for kind in _VECTORS
  }


def _log_probs(model, params, source_BS, target_BT):
  """Log-probability of each target given its source, float32 [B]."""
  outputs_BTD, matrix_CD = model.apply(
    {"params": params}, source_BS, target_BT, method="before_logits"
  )
  return -jnp.sum(nll_of_targets(outputs_BTD, matrix_CD, target_BT), axis=-1)


def _texts(texts, what):
  """Yields `texts`, each of them checked.

  Raises:
    TypeError: they are one text, at once; or, when it comes, one of them is no text.
  """
  if isinstance(texts, (str, bytes)):
    raise TypeError(f"{what}s are wanted in a list, and this is one text: {texts[:40]!r}")
  return map(functools.partial(_checked_text, what), itertools.count(1), texts)


def _checked_text(what, number, text):
  if not isinstance(text, str):
    raise TypeError(f"{what} {number} is of type {type(text).__name__}, and no text")
  return text


def _windows(items, size):
  """Lists of up to `size` items."""
  window = []
  for item in items:
    window.append(item)
    if len(window) == size:
      yield window
      window = []
  if window:
    yield window


def _steps_to_average(checkpoints, config, step, path):
  """The checkpoints whose mean is used. A checkpoint that only an interruption made is no part of an average."""
  steps = checkpoints.steps()
  if not steps:
    raise CheckpointError(path, "there is no checkpoint yet", "train first")
  if step is not None:
    return [step]
  wanted, regular = config.decode.average_last, checkpoints.regular_steps()
  if wanted == 1 or not regular:
    return steps[-1:]
  if len(regular) < wanted:
    print(
      f"transformer-jax: {path}: only {len(regular)} checkpoints are there to average, not --average_last={wanted}",
      file=sys.stderr,
    )
  return regular[-wanted:]
