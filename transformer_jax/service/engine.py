"""Asks the model: searches and forward passes in few static shapes, each compiled once."""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32

from transformer_jax import parallel
from transformer_jax.config import PAD_ID
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.data.preprocessing import penn_tokenize
from transformer_jax.decoding.generate import DecodeBatch, width_for
from transformer_jax.decoding.stages import Stages
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.intermediates import attention_weights_and_vectors
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.alignment import Aligner, Heads, Links, default_heads
from transformer_jax.runs.cut_sources import longest_source
from transformer_jax.runs.model_search import ModelSearch, in_stages
from transformer_jax.runs.search import Answer, Sentence, answers
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.service.messages import MAX_RIVALS
from transformer_jax.service.problem import Problem

_MAX_SEARCHES = 6  # kinds of search whose programs are kept in memory


class Switches(NamedTuple):
  """What of the model is changed."""

  closed_heads: tuple[tuple[str, int, int], ...] = ()  # (attention, layer, head), from 0
  divide: bool = True  # by sqrt(d_k)


class Search(NamedTuple):
  """How outputs are searched for. Sentences with the same settings share batches."""

  beam_size: int
  length_penalty: float
  has_more: bool = False  # more than the best output is requested
  switches: Switches = Switches()
  prefix: tuple[int, ...] = ()  # tokens that all outputs begin with


class Alignment(NamedTuple):
  """A request for the links between the words of sentences and of their outputs."""

  switches: Switches


@dataclasses.dataclass(frozen=True)
class Look:
  """What the model computes for a sentence of S tokens and an output of T."""

  log_probs_T: Float32[np.ndarray, " T"]  # of the output's tokens
  rivals_TR: Int32[np.ndarray, "T R"]  # the likeliest tokens at each place, best first
  rival_log_probs_TR: Float32[np.ndarray, "T R"]
  weights: dict[str, Float32[np.ndarray, "N H _ _"]]  # by attention
  vectors: dict[str, dict[str, Float32[np.ndarray, "N H _ _"]]]  # by attention and kind


class Engine:
  """A model that answers in batches. It is not safe for several threads at once.

  Args:
    model: the trained model.
    alignment_heads: cross-attention heads that align words; by default those of `default_heads`.
  """

  model: TrainedModel

  def __init__(self, model: TrainedModel, alignment_heads: Heads | None = None) -> None:
    self.model = model
    self._alignment_heads = alignment_heads or default_heads(model.config.model)
    self._undivided: TrainedModel | None = None
    # (beam_size, has_more) -> the search, the latest used last
    self._searches: collections.OrderedDict[tuple[int, bool], Any] = collections.OrderedDict()
    self._look = parallel.on_devices(functools.partial(_look, model.model))

  def encode(self, text: str, where: str) -> Sentence:
    """Returns a sentence to answer; without tokens, if it is empty.

    Raises:
      Problem: it has more tokens than the model takes; `where` names it.
    """
    is_parser = self.model.config.data.task == "parsing"
    if is_parser:
      text = penn_tokenize(text)
    tokens = self.model.task.encode_source(text)
    limit = longest_source(self.model.config)
    if len(tokens) > limit:
      raise Problem(413, where, f"has {len(tokens):,} tokens", f"at most {limit:,}")
    return Sentence(text, tokens if len(tokens) > 1 else [])

  def longest_output(self, sentence: Sentence | None = None) -> int:
    """Returns how many tokens the output of a sentence, or of any, may have, EOS included."""
    config = self.model.config
    source = len(sentence.tokens) if sentence else longest_source(config)
    longest = max(1, source - 1 + config.decode.max_extra_length)
    if config.model.positions == "learned":
      return min(longest, config.model.max_positions)
    return longest

  def search(self, search: Search, sentences: Sequence[Sentence]) -> list[list[Answer]]:
    """Returns the answers to each sentence, best first; none to an empty one."""
    config = self.model.config
    return list(
      answers(
        self.model.task,
        sentences,
        self._decode_batch(search),
        dataclasses.replace(config.decode, beam_size=search.beam_size),
        num_best=search.beam_size if search.has_more else 1,
        detokenize=config.data.preprocessing != "none",
      )
    )

  def align(
    self, switches: Switches, outputs: Sequence[tuple[str, Sequence[int], str]]
  ) -> list[Links]:
    """Returns the links of each (sentence, the output's tokens without EOS, its text)."""
    return list(Aligner(self._switched(switches), self._alignment_heads).links(outputs))

  def look(self, switches: Switches, source: Sequence[int], target: Sequence[int]) -> Look:
    """Returns what the model computes for a sentence and an output, both by tokens."""
    params, gates = self._switched(switches).on_devices
    sharded = [_sharded(tokens, parallel.num_devices()) for tokens in (source, target)]
    found = parallel.gather_rows(self._look(params, *sharded, gates), 1)
    log_probs, rivals, rival_log_probs, weights, vectors = jax.tree.map(lambda x: x[0], found)
    sides = dict(S=len(source), T=len(target))
    queries = dict(encoder="S", decoder="T", cross="T")
    keys = dict(encoder="S", decoder="T", cross="S")
    cut = {}
    for name, weights_NHTS in weights.items():
      cut[name] = weights_NHTS[:, :, : sides[queries[name]], : sides[keys[name]]]
    for name, by_kind in vectors.items():
      for kind, vectors_NHPK in by_kind.items():
        side = queries[name] if kind == "query" else keys[name]
        by_kind[kind] = vectors_NHPK[:, :, : sides[side]]
    T = len(target)
    return Look(log_probs[:T], rivals[:T], rival_log_probs[:T], cut, vectors)

  def _switched(self, switches: Switches) -> TrainedModel:
    """Returns the model with these heads closed, and without the division if it is off."""
    model = self.model
    if not switches.divide:
      if self._undivided is None:
        self._undivided = model.without_division()
      model = self._undivided
    return model.with_heads_closed(switches.closed_heads) if switches.closed_heads else model

  def _decode_batch(self, search: Search) -> DecodeBatch:
    """Returns the decode_batch of `generate` for these settings."""
    model_search, stages = self._program(search.beam_size, search.has_more)
    params, gates = self._switched(search.switches).on_devices
    # An argument of the programs, so that another one needs no others.
    penalty = parallel.replicate(np.float32(search.length_penalty))

    def decode_batch(source_BS, max_lengths_B, num_words_B):
      rows = len(source_BS)
      prefix = _padded([search.prefix] * rows, rows) if search.prefix else None
      job = source_BS, max_lengths_B, num_words_B, prefix
      return stages.search((params, gates, penalty), job, model_search.rooms(source_BS.shape[1]))

    return decode_batch

  def _program(self, beam_size: int, has_more: bool) -> tuple[ModelSearch, Stages]:
    """Returns the search on all devices. Those that were not used for longest are dropped."""
    key = (beam_size, has_more)
    if key not in self._searches:
      decode = dataclasses.replace(self.model.config.decode, beam_size=beam_size)
      num_best = beam_size if has_more else 1
      search = ModelSearch(self.model.model, decode, self.model.task.brackets(), num_best)
      self._searches[key] = search, in_stages(search)
      if len(self._searches) > _MAX_SEARCHES:
        self._searches.popitem(last=False)
    self._searches.move_to_end(key)
    return self._searches[key]


def _look(
  model: Transformer,
  params: Any,
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  gates: HeadGates,
) -> tuple[Any, ...]:
  """Returns the arrays of a Look on one device, each with the batch first."""
  logits_BTC: Any = model.apply({"params": params}, source_BS, target_BT, gates=gates)
  log_probs_BTC = jax.nn.log_softmax(logits_BTC)
  log_probs_BT = jax.numpy.take_along_axis(log_probs_BTC, target_BT[..., None], axis=-1)[..., 0]
  # PAD is never chosen, so it is no rival.
  possible_BTC = log_probs_BTC.at[..., PAD_ID].set(-jax.numpy.inf)
  rivals = min(MAX_RIVALS, logits_BTC.shape[-1] - 1)
  rival_log_probs_BTR, rivals_BTR = lax.top_k(possible_BTC, rivals)
  maps = attention_weights_and_vectors(model, params, source_BS, target_BT, gates)
  weights, vectors = jax.tree.map(lambda array: array.swapaxes(0, 1), maps)
  return log_probs_BT, rivals_BTR, rival_log_probs_BTR, weights, vectors


def _sharded(tokens: Sequence[int], rows: int) -> np.ndarray:
  """Returns padded tokens in the first row, split over the devices."""
  return parallel.shard_rows(_padded([tokens], rows))


def _padded(sequences: Sequence[Sequence[int]], rows: int) -> np.ndarray:
  """Returns sequences as [rows, width]."""
  return pad_rows(sequences, rows, width_for(max(map(len, sequences))))
