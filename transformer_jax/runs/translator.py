"""A trained run, loaded: translates, scores pairs, shows attention. `transformer_jax.load` gives one."""

import collections
import dataclasses
import sys

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints, average_params
from transformer_jax.config import PAD_ID, Config
from transformer_jax.data.tokenizer_folder import load_tokenizer
from transformer_jax.decoding.generate import Source, generate
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.runs.build import build_model, build_task, cut, decode_overrides, longest_source, make_decode_batch, parameter_shapes
from transformer_jax.runs.workdir import Workdir
from transformer_jax.tasks.output import Output
from transformer_jax.training.label_smoothing import smoothed_cross_entropy


_VECTORS = ("query", "key", "value")  # the projections' names in the model
_MODULES = dict(encoder=("encoder", "self_attention"), decoder=("decoder", "self_attention"), cross=("decoder", "cross_attention"))


@dataclasses.dataclass(frozen=True)
class Translation:
  """One hypothesis: its text, log-probability in nats (EOS included), length-penalised score, and whether a tree was repaired."""

  text: str
  log_prob: float
  score: float
  is_repaired: bool = False


class Translator:
  """A model with its task and decoding settings. Make one with `Translator.load`."""

  def __init__(self, config, task, model, params, steps):
    self.config, self.task, self.model, self.steps = config, task, model, steps
    self._params = parallel.replicate(params)
    self._decode_batch = make_decode_batch(model, config.decode, task.brackets())(self._params)
    self._log_probs = parallel.on_devices(lambda p, s, t: _log_probs(model, p, s, t))

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
      raise ConfigError(f"--average_last={settings['average_last']}",
                        f"averages the latest checkpoints, and --step={step} names one", "leave one out")
    parallel.start_up()
    folder = Workdir(workdir, primary=False)
    config = decode_overrides(Config.from_flat(folder.read_config()), settings)
    task = build_task(config.data, load_tokenizer(folder.tokenizer))
    model = build_model(config, task)
    checkpoints = Checkpoints(folder.checkpoints, read_only=True)
    steps = _steps_to_average(checkpoints, config, step, folder.path)
    return cls(config, task, model, average_params(checkpoints, parameter_shapes(model), steps), steps)

  def translate(self, sentences, is_preprocessed=False, detokenize=False):
    """The best translation of each sentence, a list of strings; an empty sentence gives an empty one."""
    return [output.text for output in self.outputs(sentences, is_preprocessed, detokenize)]

  def outputs(self, sentences, is_preprocessed=False, detokenize=False):
    """The same as Outputs, the task's answers."""
    return [Output(n_best[0].text, n_best[0].is_repaired) if n_best else Output("")
            for n_best in self.n_best(sentences, 1, is_preprocessed, detokenize)]

  def n_best(self, sentences, num_best, is_preprocessed=False, detokenize=False, on_cut=lambda number, length: None):
    """Yields the `num_best` Translations of each sentence, best first, in order; an empty list for an empty one.

    Reads no further ahead than a window, so it serves endless input. `on_cut(number, tokens)` hears of each sentence
    (counted from 1) that was cut to `max_source_length`.
    """
    waiting = collections.deque()  # the sentences that were read, and are not answered; None for empty ones

    def sources():
      limit = longest_source(self.config)
      for number, sentence in enumerate(sentences, 1):
        source = self.task.encode_source(sentence, is_preprocessed)
        waiting.append(sentence if len(source) > 1 else None)
        if len(source) > limit:
          on_cut(number, len(source))
        if len(source) > 1:
          yield Source(cut(source, limit), self.task.count_words(sentence))

    decode = self.config.decode
    for hypotheses in generate(sources(), self._decode_batch, batch_tokens=decode.decode_batch_tokens, num_best=num_best,
                               max_extra_length=decode.max_extra_length, row_multiple=parallel.num_devices()):
      while (sentence := waiting.popleft()) is None:
        yield []
      outputs = [self.task.decode_target(h.tokens, sentence, detokenize) for h in hypotheses]
      yield [Translation(o.text, h.log_prob, h.score, o.is_repaired) for o, h in zip(outputs, hypotheses, strict=True)]
    for _ in waiting:
      yield []

  def attention(self, source, target=None, is_preprocessed=False):
    """All attention for a sentence and its translation, or a given target.

    Returns:
      dict: "source" and "target", the sub-words S and T (EOS included); "target_text"; the weights, float32 arrays "encoder"
      [N, H, S, S], "decoder" [N, H, T, T], "cross" [N, H, T, S], where row t belongs to the position that predicts target t; and
      "vectors", what they come from: for each of the three a dict of "query" [N, H, ., K], "key" [N, H, ., K], "value" [N, H, ., V].

    Raises:
      ValueError: the sentence or its output is empty, or longer than the model takes.
    """
    task, limit = self.task, longest_source(self.config)
    text = self.translate([source], is_preprocessed)[0] if target is None else target
    source_S = task.encode_source(source, is_preprocessed)
    target_T = task.encode_target(text, is_preprocessed or target is None) if text else []
    if not text or len(source_S) == 1:
      raise ValueError("there is nothing to look at: the sentence or its output is empty")
    for name, tokens in (("sentence", source_S), ("output", target_T)):
      if len(tokens) > limit:
        raise ValueError(f"the {name} has {len(tokens)} tokens, and the model takes {limit} (--max_source_length)")
    weights, state = self.model.apply(
        {"params": self.params}, np.array([source_S], np.int32), np.array([target_T], np.int32), method="attention_weights",
        capture_intermediates=lambda module, _: module.name in _VECTORS, mutable=["intermediates"])
    return dict(source=task.source_pieces(source_S), target=task.target_pieces(target_T), target_text=text,
                vectors={name: _vectors(state["intermediates"], name) for name in weights},
                **{name: np.asarray(array)[:, 0] for name, array in weights.items()})

  def log_probs(self, pairs, is_preprocessed=False):
    """Yields (log-probability in nats, target tokens with EOS) of each (source, target), in order.

    Raises:
      DataError: a target is longer than a learned table of positions.
    """
    number = 0
    for rows in _windows(pairs, 64):
      sources = [cut(self.task.encode_source(s, is_preprocessed), longest_source(self.config)) for s, _ in rows]
      targets = [self.task.encode_target(t, is_preprocessed) for _, t in rows]
      for number, target in enumerate(targets, number + 1):
        self._check_length(number, len(target))
      padded = [_pad(side, 64) for side in (sources, targets)]
      log_probs_B = parallel.gather_rows(self._log_probs(self._params, *map(parallel.shard_rows, padded)), len(rows))
      yield from zip(map(float, log_probs_B), map(len, targets), strict=True)


  def _check_length(self, number, length):
    model = self.config.model
    if model.positions == "learned" and length > model.max_positions:
      raise DataError(f"target {number}", f"has {length} tokens, and the model's table has --max_positions={model.max_positions}", "leave it out")


def _vectors(intermediates, name):
  """query, key, value -> what an attention's projections gave, float32 [N, H, positions, width]."""
  stack, module = _MODULES[name]
  layers = [intermediates[stack][f"layer_{number}"][module] for number in range(len(intermediates[stack]))]
  return {kind: np.stack([np.asarray(layer[kind]["__call__"][0][0], np.float32).swapaxes(0, 1) for layer in layers]) for kind in _VECTORS}


def _log_probs(model, params, source_BS, target_BT):
  """Log-probability of each target given its source, float32 [B]."""
  logits_BTC = model.apply({"params": params}, source_BS, target_BT)
  _, nll_BT = smoothed_cross_entropy(logits_BTC, target_BT, 0.0)
  return -jax.numpy.sum(jax.numpy.where(target_BT != PAD_ID, nll_BT, 0.0), axis=-1)


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


def _pad(sequences, rows):
  """int32 [rows, width]: few shapes, since widths are powers of two."""
  width = 1 << max(3, (max(map(len, sequences)) - 1).bit_length())
  padded = np.full((rows, width), PAD_ID, np.int32)
  for row, sequence in zip(padded, sequences):
    row[:len(sequence)] = sequence
  return padded


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
    print(f"transformer-jax: {path}: only {len(regular)} checkpoints are there to average, not --average_last={wanted}", file=sys.stderr)
  return regular[-wanted:]
