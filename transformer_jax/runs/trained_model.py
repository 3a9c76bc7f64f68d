"""A loaded run: answers text, scores pairs, shows attention. `transformer_jax.load` returns one."""

import copy
import functools
import itertools
import numbers
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float32, Int32

from transformer_jax import parallel
from transformer_jax.checkpoints import Checkpoints, average_params
from transformer_jax.config import Config
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.decoding.generate import plan_batches, width_for
from transformer_jax.errors import CheckpointError, DataError
from transformer_jax.files import StrPath
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.intermediates import attention_weights_and_vectors, longer_queries
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.build import build_model, build_task, parameter_shapes
from transformer_jax.runs.cut_sources import CutSources, cut, longest_source, source_limit
from transformer_jax.runs.search import (
  Answer,
  DecodeBatch,
  Sentence,
  answers,
  make_decode_batch,
)
from transformer_jax.tasks.task import Output, Task
from transformer_jax.training.label_smoothing import sequence_log_probs
from transformer_jax.training.state import part_in_use
from transformer_jax.workdir.folder import Workdir

_WINDOW = 1024  # pairs that are sorted by length and scored before the first result is yielded
_WEIGHTS_WINDOW = 32  # the same, where a result is a matrix

EncodedPair = tuple[list[int], list[int]]  # source and target tokens, EOS included
Item = TypeVar("Item")


class LoadedRun(NamedTuple):
  """What a workdir gives; the parameters are on the host."""

  config: Config
  task: Task
  model: Transformer
  params: Any
  steps: list[int]


class TrainedModel:
  """A model with its task and decoding settings. Make one with `TrainedModel.load`.

  Example:
    model = TrainedModel.load("runs/quickstart", beam_size=4)
    model.translate(["forty two"])  # ["zweiundvierzig"]
    best, second = next(model.n_best(["forty two"], 2))
    best.text, best.log_prob, best.score
  """

  config: Config
  task: Task
  model: Transformer
  steps: list[int]  # the checkpoints that the parameters are from

  def __init__(
    self, config: Config, task: Task, model: Transformer, params: Any, steps: list[int]
  ) -> None:
    self.config = config
    self.task = task
    self.model = model
    self.steps = steps
    self._params = parallel.replicate(params)
    # What a search is made of; an ensemble has several.
    self._searched: Transformer | tuple[Transformer, ...] = model
    self._gates: HeadGates | None = None  # None if all heads are open
    # num_best -> (params, gates) -> decode_batch, compiled once for all gates
    self._searches: dict[int, Callable[..., DecodeBatch]] = {}
    self._log_probs = parallel.on_devices(functools.partial(sequence_log_probs, model))
    self._weights: dict[tuple[tuple[int, int], ...], Callable[..., jax.Array]] = {}  # by heads
    self._logits = parallel.on_devices(functools.partial(_logits, model))

  @property
  def params(self) -> Any:
    """One copy of the parameters, as numpy arrays."""
    return parallel.to_host(self._params)

  @property
  def has_closed_heads(self) -> bool:
    """Whether `with_heads_closed` closed any."""
    return any(bool((gates_NH == 0).any()) for gates_NH in jax.tree.leaves(self._gates))

  def parameters(self) -> dict[str, np.ndarray]:
    """Returns the parameters by dotted name, each a float32 array of its own.

    Changing them does not change the model. Kernels are [inputs, outputs]. The kernel of a query,
    key or value has the outputs [H, K] or [H, V]; that of an attention's output has the inputs
    [H, V].

    Example:
      parameters = model.parameters()
      {name: array.shape for name, array in parameters.items()}
      # {"shared_embedding.embedding": (240, 64), ...}
    """
    flat = flatten_dict(self.params, sep=".")
    return {name: np.array(array) for name, array in flat.items()}

  def with_heads_closed(self, heads: Iterable[tuple[str, int, int]]) -> "TrainedModel":
    """Returns the same model without these heads; this one stays as it is.

    The output of a closed head is multiplied by 0 in all that the new model does: `translate`,
    `n_best`, `log_probs`, `logits` and `attention`. Heads that are closed already stay closed. The
    two models share their parameters and their compiled programs.

    Args:
      heads: (attention, layer, head): "encoder", "decoder" or "cross", and numbers from 0.

    Raises:
      TypeError, ValueError: there is no such head.

    Example:
      without = model.with_heads_closed([("cross", 0, 1)])
      without.translate(["forty two"])
      ((log_prob, _),) = without.log_probs([("forty two", "zweiundvierzig")])
    """
    gates = self._gates or HeadGates.open(self.config.model)
    closed = copy.copy(self)
    closed._gates = gates.without(heads)  # noqa: SLF001  of our own class
    return closed

  def without_division(self) -> "TrainedModel":
    """Returns the same model without the division by sqrt(d_k); this one stays as it is.

    Its queries are sqrt(d_k) times as long, which cancels the division in each head. The two models
    share their other parameters and their compiled programs.
    """
    undivided = copy.copy(self)
    undivided._params = longer_queries(self._params, self.config.model)  # noqa: SLF001
    return undivided

  @property
  def on_devices(self) -> tuple[Any, HeadGates]:
    """The parameters and the gates as programs take them: a copy on each device."""
    gates = self._gates or HeadGates.open(self.config.model)
    return self._params, parallel.replicate(gates)

  @classmethod
  def load(
    cls,
    workdir: StrPath,
    checkpoint: int | str = "last",
    *,
    step: int | None = None,
    **settings: Any,
  ) -> "TrainedModel":
    """Loads a run.

    Args:
      workdir: folder of the run.
      checkpoint: "last", "best" (by its validation score), or a step. With `average_last`, the mean
        of the last ones up to it is loaded. The run's own `average_last` counts for "last" only.
      step: the same as `checkpoint`.
      **settings: decoding settings that override the run's.

    Raises:
      CheckpointError: there is no such checkpoint, or it cannot be read.
      ValueError: `step` and `checkpoint` are not the same.
    """
    if step is not None:
      if checkpoint not in ("last", step):
        raise ValueError(f"step={step}, but checkpoint={checkpoint!r} names another; leave one out")
      checkpoint = step
    return cls(*load_run(workdir, checkpoint, settings))

  def translate(
    self, sentences: Iterable[str], is_preprocessed: bool = False, detokenize: bool = False
  ) -> list[str]:
    """Returns the best translation of each sentence; that of an empty sentence is empty.

    Raises:
      TypeError: `sentences` is a single string, or one of them is not a string.

    Example:
      model.translate(["forty two", "six hundred seven"])
      # ["zweiundvierzig", "sechshundertsieben"]
    """
    return [output.text for output in self.outputs(sentences, is_preprocessed, detokenize)]

  def outputs(
    self, sentences: Iterable[str], is_preprocessed: bool = False, detokenize: bool = False
  ) -> list[Output]:
    """Returns the same as `translate`, as Outputs."""
    n_best_lists = self.n_best(sentences, 1, is_preprocessed, detokenize)
    return [n_best[0].output if n_best else Output("") for n_best in n_best_lists]

  def n_best(
    self,
    sentences: Iterable[str],
    num_best: int,
    is_preprocessed: bool = False,
    detokenize: bool = False,
    on_cut: Callable[[int, int], None] = lambda number, length: None,
    is_at_hand: Callable[[], bool] = lambda: True,
  ) -> Iterator[list[Answer]]:
    """Yields the `num_best` Answers to each sentence, best first, in order; [] for an empty one.

    It reads no more than a window ahead, so the input may be endless. It answers what it has read
    before it waits for a sentence that is not at hand.

    Args:
      sentences: texts.
      num_best: answers to each.
      is_preprocessed: they have been through the run's preprocessing.
      detokenize: undo the preprocessing's tokenization in the answers.
      on_cut: called with the number (from 1) and the tokens of each sentence that was cut to
        `max_source_length`.
      is_at_hand: returns whether the next sentence can be read without waiting.

    Raises:
      TypeError: `sentences` is a single string, or one of them is not a string; `num_best` is not a
        whole number.
      ValueError: `num_best` is below 1, or beyond the search's beam_size.
    """
    beam_size = self.config.decode.beam_size
    if isinstance(num_best, bool) or not isinstance(num_best, numbers.Integral):
      raise TypeError(f"num_best is {num_best!r}, but must be a whole number")
    if not 1 <= num_best <= beam_size:
      raise ValueError(f"num_best is {num_best}, but must be from 1 to beam_size={beam_size}")
    texts = _texts(sentences, "sentence")
    return answers(
      self.task,
      self._encoded(texts, is_preprocessed, on_cut),
      self._search(num_best),
      self.config.decode,
      num_best=num_best,
      detokenize=detokenize,
      is_at_hand=is_at_hand,
    )

  def _encoded(
    self, texts: Iterable[str], is_preprocessed: bool, on_cut: Callable[[int, int], None]
  ) -> Iterator[Sentence]:
    """Yields the texts as Sentences; an empty one asks for no answer."""
    limit = longest_source(self.config)
    for number, text in enumerate(texts, 1):
      tokens = self.task.encode_source(text, is_preprocessed)
      if len(tokens) > limit:
        on_cut(number, len(tokens))
      yield Sentence.of(text, cut(tokens, limit))

  def _search(self, num_best: int) -> DecodeBatch:
    """Returns the decode_batch for this many outputs a sentence."""
    if num_best not in self._searches:
      brackets = self.task.brackets()
      self._searches[num_best] = make_decode_batch(
        self._searched, self.config.decode, brackets, num_best
      )
    return self._searches[num_best](self._params, *self._further())

  def _further(self) -> list[HeadGates]:
    """Returns the further argument of a program, gates on all devices; [] if no head is closed."""
    return [] if self._gates is None else [parallel.replicate(self._gates)]

  def encode(self, text: str, side: str = "source", is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a text, EOS at the end.

    Args:
      text: a sentence, or on the target's side a translation (or a tree).
      side: "source" or "target".
      is_preprocessed: it has been through the run's preprocessing.

    Raises:
      TypeError: the text is not a string.
      ValueError: there is no such side.
      DataError: the text cannot be a target of the run's task.

    Example:
      tokens = model.encode("forty two")  # [83, 74, 1]
      model.pieces(tokens)  # ["▁forty", "▁two", "</s>"]
    """
    _checked_text("text", 1, text)
    by_side = dict(source=self.task.encode_source, target=self.task.encode_target)
    return by_side[_checked_side(side)](text, is_preprocessed)

  def pieces(self, tokens: Iterable[int], side: str = "source") -> list[str]:
    """Returns the sub-word of each token, for display.

    Raises:
      TypeError: `tokens` is a string.
      ValueError: there is no such side, or no such token.

    Example:
      model.pieces(model.encode("zweiundvierzig", side="target"), side="target")
    """
    if isinstance(tokens, (str, bytes)):
      raise TypeError("tokens is a string, but must be a list of numbers, such as encode returns")
    by_side = dict(
      source=(self.task.source_pieces, self.task.source_vocab_size),
      target=(self.task.target_pieces, self.task.target_vocab_size),
    )
    pieces, vocab_size = by_side[_checked_side(side)]
    found = [int(token) for token in tokens]
    if wrong := [token for token in found if not 0 <= token < vocab_size]:
      raise ValueError(f"{wrong[0]} is not a token: the {side}'s are 0 to {vocab_size - 1}")
    return pieces(found)

  def logits(
    self, source: str, target: str, is_preprocessed: bool = False
  ) -> Float32[np.ndarray, "T C"]:
    """Returns the scores of every possible token at each position of a given target.

    Row t has the scores for target token t, given the source and the target tokens before t.
    Its softmax over the vocabulary C is the distribution. T counts the tokens of
    `encode(target, "target")`, EOS included. A long source is cut as `translate` cuts it.

    Raises:
      TypeError: the source or the target is not a string.
      DataError: the target is longer than a table of positions, or than one batch can be.

    Example:
      logits_TC = model.logits("forty two", "zweiundvierzig")
      best_T = logits_TC.argmax(-1)
      model.pieces(best_T, side="target")  # the likeliest token at each position
    """
    ((source_S, target_T),) = self.encoded_pairs([(source, target)], is_preprocessed)
    num_rows = parallel.num_devices()
    source_BS, target_BT = _sharded([source_S], num_rows), _sharded([target_T], num_rows)
    logits_BTC = self._logits(self._params, source_BS, target_BT, *self._further())
    return parallel.gather_rows(logits_BTC, 1)[0, : len(target_T)]

  def attention(
    self, source: str, target: str | None = None, is_preprocessed: bool = False
  ) -> dict[str, Any]:
    """Returns all attention weights for a sentence and its translation, or for a given target.

    Returns:
      dict: "source" and "target", the sub-words S and T (EOS included); "target_text"; the weights,
      float32 arrays "encoder" [N, H, S, S], "decoder" [N, H, T, T] and "cross" [N, H, T, S], where
      row t belongs to the position that predicts target t; and "vectors", from which the weights
      are computed: for each of the three a dict of "query" [N, H, ., K], "key" [N, H, ., K] and
      "value" [N, H, ., V].

    Raises:
      TypeError: the sentence or its output is not a string.
      ValueError: the sentence or its output is empty, or longer than the model takes, or the output
        cannot belong to the sentence.

    Example:
      weights = model.attention("forty two", "zweiundvierzig")
      weights["cross"][0, 1]  # layer 0, head 1: [T, S]
      weights["vectors"]["cross"]["query"][0, 1]  # [T, K]
    """
    list(_texts([source] if target is None else [source, target], "text"))
    text = self.translate([source], is_preprocessed)[0] if target is None else target
    source_S = self.task.encode_source(source, is_preprocessed)
    target_T = self.task.encode_target(text, is_preprocessed or target is None) if text else []
    self._check_attention(source_S, target_T)
    if target is not None and (problem := self.task.problem_of(source, target)):
      raise ValueError(f"the output {problem}")
    weights, vectors = attention_weights_and_vectors(
      self.model,
      self.params,
      jnp.array([source_S], jnp.int32),
      jnp.array([target_T], jnp.int32),
      self._gates,
    )
    return dict(
      source=self.task.source_pieces(source_S),
      target=self.task.target_pieces(target_T),
      target_text=text,
      vectors={name: _without_batch(by_kind) for name, by_kind in vectors.items()},
      **_without_batch(weights),
    )

  def _check_attention(self, source_S: list[int], target_T: list[int]) -> None:
    """Raises a ValueError if a side is empty, or longer than the model takes."""
    if not target_T or len(source_S) == 1:
      raise ValueError("there is no attention to show: the sentence or its output is empty")
    if len(source_S) > longest_source(self.config):
      problem = f"the sentence has {len(source_S)} tokens"
      raise ValueError(f"{problem}, but the model takes at most {source_limit(self.config)}")
    if problem := self._why_too_long(len(target_T)):
      raise ValueError(f"the output {problem[0]}")

  def log_probs(
    self, pairs: Iterable[tuple[str, str]], is_preprocessed: bool = False
  ) -> Iterator[tuple[float, int]]:
    """Yields (log-probability in nats, target tokens with EOS) of each (source, target), in order.

    Sources are cut as `translate` cuts them.

    Raises:
      TypeError: `pairs` is a single string, or one of them is not a pair of strings.
      DataError: a target is longer than a table of positions, or than one batch can be.

    Example:
      pairs = [("forty two", "zweiundvierzig"), ("forty two", "vierundzwanzig")]
      for log_prob, num_tokens in model.log_probs(pairs):
        print(log_prob / num_tokens)
    """
    return self.encoded_log_probs(self.encoded_pairs(pairs, is_preprocessed))

  def encoded_pairs(
    self,
    pairs: Iterable[tuple[str, str]],
    is_preprocessed: bool = False,
    cut_sources: CutSources | None = None,
    where: str = "target ",
  ) -> Iterator[EncodedPair]:
    """Yields (source tokens, target tokens), EOS included, of each pair of texts.

    Sources are cut to what the model takes.

    Args:
      pairs: (source, target) texts.
      is_preprocessed: they have been through the run's preprocessing.
      cut_sources: CutSources that counts what is cut.
      where: errors name pair i as `where` followed by i.

    Raises:
      TypeError, DataError: as for `log_probs`.
    """
    if isinstance(pairs, (str, bytes)):
      raise TypeError("pairs is a single string, but must be a list of (source, target)")
    cut_sources = cut_sources or CutSources(self.config)
    return self._encoded_pairs(pairs, is_preprocessed, cut_sources, where)

  def _encoded_pairs(
    self,
    pairs: Iterable[tuple[str, str]],
    is_preprocessed: bool,
    cut_sources: CutSources,
    where: str,
  ) -> Iterator[EncodedPair]:
    for number, pair in enumerate(pairs, 1):
      source, target = _checked_pair(number, pair)
      if problem := self.task.problem_of(source, target):
        raise DataError(f"{where}{number}", problem)
      try:
        target_T = self.task.encode_target(target, is_preprocessed)
      except DataError as error:
        raise DataError(f"{where}{number}", error.problem, error.remedy) from None
      if problem := self._why_too_long(len(target_T)):
        raise DataError(f"{where}{number}", *problem)
      yield cut_sources.cut(number, self.task.encode_source(source, is_preprocessed)), target_T

  def encoded_log_probs(self, encoded: Iterable[EncodedPair]) -> Iterator[tuple[float, int]]:
    """Yields the same as `log_probs`, of pairs from `encoded_pairs`."""
    for window in _windows(encoded, _WINDOW):
      log_probs = np.zeros(len(window), np.float32)
      for indices, log_probs_B in self._in_batches(window, self._log_probs):
        log_probs[indices] = log_probs_B
      for log_prob, (_, target) in zip(log_probs, window, strict=True):
        yield float(log_prob), len(target)

  def cross_attention(
    self, encoded: Iterable[EncodedPair], heads: Sequence[tuple[int, int]]
  ) -> Iterator[Float32[np.ndarray, "T S"]]:
    """Yields the mean of some heads' cross-attention weights for each pair of token lists.

    Row t belongs to the position that predicts target token t. The targets need not end in EOS;
    none may be empty. 32 pairs are kept at a time.

    Args:
      encoded: (source tokens, target tokens).
      heads: (layer, head) of each, from 0.
    """
    weights = self._mean_weights(tuple(heads))
    for window in _windows(encoded, _WEIGHTS_WINDOW):
      found = {}
      for indices, weights_BTS in self._in_batches(window, weights):
        for index, weights_TS in zip(indices, weights_BTS, strict=True):
          source_S, target_T = window[index]
          found[index] = weights_TS[: len(target_T), : len(source_S)]
      yield from (found[index] for index in range(len(window)))

  def _mean_weights(self, heads: tuple[tuple[int, int], ...]) -> Callable[..., jax.Array]:
    """Returns the program for these heads."""
    if heads not in self._weights:
      self._weights[heads] = parallel.on_devices(
        functools.partial(_mean_cross_weights, self.model, heads)
      )
    return self._weights[heads]

  def _in_batches(
    self, pairs: Sequence[EncodedPair], program: Callable[..., jax.Array]
  ) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields (places of pairs, the program's result for them), pairs of like length together.

    `program` is a function (params, source_BS, target_BT[, gates]) on all devices.
    """
    further = self._further()
    lengths = [max(len(source), len(target)) for source, target in pairs]
    batch_tokens = self.config.decode.decode_batch_tokens
    for indices, (rows, _) in plan_batches(lengths, batch_tokens, parallel.num_devices()):
      sources, targets = zip(*(pairs[index] for index in indices), strict=True)
      source_BS, target_BT = _sharded(sources, rows), _sharded(targets, rows)
      result = program(self._params, source_BS, target_BT, *further)
      yield indices, parallel.gather_rows(result, len(indices))

  def _why_too_long(self, length: int) -> tuple[str, str] | None:
    """Returns why a target of this many tokens cannot be scored: (problem, remedy), or None."""
    model, decode = self.config.model, self.config.decode
    if model.positions == "learned" and length > model.max_positions:
      room = f"the model's table has only --max_positions={model.max_positions}"
      return f"has {length} tokens, but {room}", "leave it out"
    if length > max(decode.decode_batch_tokens, decode.max_source_length):
      room = f"a batch holds only --decode_batch_tokens={decode.decode_batch_tokens}"
      return f"has {length} tokens, but {room}", "leave it out, or raise --decode_batch_tokens"
    return None


def load_run(workdir: StrPath, checkpoint: int | str, settings: Mapping[str, Any]) -> LoadedRun:
  """Reads a run; see `TrainedModel.load`."""
  parallel.start_up()
  folder = Workdir(workdir, primary=False)
  config = Config.from_flat(folder.read_config()).override(settings)
  task = build_task(config.data, load_tokenizer(folder.tokenizer))
  model = build_model(config, task)
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    average_last = settings.get("average_last") or 1
    if checkpoint == "last":
      average_last = config.decode.average_last
    steps = _steps_to_average(checkpoints, checkpoint, average_last, folder.path)
    part = part_in_use(config.train.ema_decay)
    params = average_params(checkpoints, parameter_shapes(model), steps, part)
  return LoadedRun(config, task, model, params, steps)


def _logits(
  model: Transformer,
  params: Any,
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  gates: HeadGates | None = None,
) -> Float32[Array, "B T C"]:
  """Returns the logits of every position of the targets, on one device."""
  logits: Any = model.apply({"params": params}, source_BS, target_BT, gates=gates)
  return logits


def _mean_cross_weights(
  model: Transformer,
  heads: tuple[tuple[int, int], ...],
  params: Any,
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  gates: HeadGates | None = None,
) -> Float32[Array, "B T S"]:
  """Returns the mean cross-attention weights of the heads, on one device."""
  weights: Any = model.apply(
    {"params": params}, source_BS, target_BT, gates=gates, method="attention_weights"
  )
  cross_NBHTS = weights["cross"]
  return jnp.mean(jnp.stack([cross_NBHTS[layer, :, head] for layer, head in heads]), axis=0)


def _checked_side(side: str) -> str:
  if side not in ("source", "target"):
    raise ValueError(f"side is {side!r}, but must be 'source' or 'target'")
  return side


def _without_batch(arrays: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
  """Returns numpy arrays [N, ...] from arrays [N, B, ...] of a single sentence."""
  return {name: np.asarray(array)[:, 0] for name, array in arrays.items()}


def _sharded(sequences: Iterable[list[int]], rows: int) -> np.ndarray:
  """Returns the sequences as `rows` padded rows, split over the devices."""
  sequences = list(sequences)
  longest = max(len(sequence) for sequence in sequences)
  return parallel.shard_rows(pad_rows(sequences, rows, width_for(longest)))


def _texts(texts: Iterable[str], what: str) -> Iterator[str]:
  """Returns an iterator of `texts` that checks each.

  Raises:
    TypeError: at once if they are a single string; later, if one of them is not a string.
  """
  if isinstance(texts, (str, bytes)):
    raise TypeError(f"expected a list of {what}s, not a single string: {texts[:40]!r}")
  return map(functools.partial(_checked_text, what), itertools.count(1), texts)


def _checked_text(what: str, number: int, text: Any) -> str:
  if not isinstance(text, str):
    raise TypeError(f"{what} {number} is of type {type(text).__name__}, not a string")
  return text


def _checked_pair(number: int, pair: Any) -> tuple[str, str]:
  if isinstance(pair, (str, bytes)):
    raise TypeError(f"pair {number} is a single string, but must be (source, target)")
  texts = [_checked_text(f"pair {number}, text", side, text) for side, text in enumerate(pair, 1)]
  if len(texts) != 2:
    raise TypeError(f"pair {number} has {len(texts)} texts, but must be (source, target)")
  return texts[0], texts[1]


def _windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
  """Yields lists of up to `size` items."""
  window = []
  for item in items:
    window.append(item)
    if len(window) == size:
      yield window
      window = []
  if window:
    yield window


def _steps_to_average(
  checkpoints: Checkpoints, checkpoint: int | str, average_last: int, path: pathlib.Path
) -> list[int]:
  """Returns the last `average_last` steps up to the one that `checkpoint` names.

  Temporary checkpoints, which interruptions make, are not averaged.
  """
  if not checkpoints.steps():
    raise CheckpointError(path, "there is no checkpoint yet", "train first")
  last = checkpoints.named_step(checkpoint)
  regular = [step for step in checkpoints.regular_steps() if step <= last]
  if average_last == 1 or not regular:
    return [last]
  if len(regular) < average_last:
    problem = f"only {len(regular)} checkpoints to average, not --average_last={average_last}"
    print(f"transformer-jax: {path}: {problem}", file=sys.stderr)
  return regular[-average_last:]
