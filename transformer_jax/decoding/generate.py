"""From a stream of sentences to their outputs, in order, through batches of few static shapes. Numpy only, no device.

Each shape (rows, width) is compiled once, so there are few: widths are powers of two, and a width has two numbers of
rows, one for full batches and one for a few left-over sentences.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from transformer_jax.config import EOS_ID, PAD_ID

_SMALLEST_WIDTH = 16
_FIRST_WINDOW = 32  # small, so that the first answers come early
_WINDOW_GROWTH = 8


class Source(NamedTuple):
  """A sentence to answer."""

  tokens: list[int]  # EOS included
  num_words: int = 0  # that a constrained output must cover


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """One output of a sentence."""

  tokens: list[int]  # without EOS
  log_prob: float  # nats, EOS included
  score: float  # log_prob / length penalty
  is_finished: bool  # False: cut at its length limit, without EOS


def generate(sources, decode_batch, *, batch_tokens, max_extra_length, num_best=1, row_multiple=1, window=2048):
  """Yields the up to `num_best` Hypotheses of each source, best first, at least one, in the order of `sources`.

  Sentences are read a window at a time and sorted by length within it; the first windows are smaller. Nothing is read
  before it is needed, so `sources` may be endless.

  Args:
    sources: iterable of Sources.
    decode_batch: function (source int32 [B, S], max_lengths int32 [B], num_words int32 [B]) -> SearchResult of numpy arrays. B is a
      multiple of `row_multiple`; rows that only fill up are all PAD and have the limit 0.
    batch_tokens: padded source positions of a batch, B * S, at most, unless a single row per device has more.
    max_extra_length: an output has at most as many tokens, EOS included, as its source without EOS plus this.
    num_best: hypotheses wanted of each.
    row_multiple: number of devices that rows are split over.
    window: most sentences read ahead.
  """
  sources = iter(sources)
  size = min(_FIRST_WINDOW, window)
  while rows := list(itertools.islice(sources, size)):
    yield from _answer_window(rows, decode_batch, batch_tokens, max_extra_length, num_best, row_multiple)
    size = min(size * _WINDOW_GROWTH, window)


def _answer_window(sources, decode_batch, batch_tokens, max_extra_length, num_best, row_multiple):
  """The n-best lists of the sources, in their order."""
  answers = [None] * len(sources)
  for indices, shape in plan_batches([len(source.tokens) for source in sources], batch_tokens, row_multiple):
    source_BS = np.full(shape, PAD_ID, np.int32)
    max_lengths_B, num_words_B = np.zeros(shape[0], np.int32), np.zeros(shape[0], np.int32)
    for row, index in enumerate(indices):
      tokens, num_words_B[row] = sources[index]
      source_BS[row, :len(tokens)] = tokens
      max_lengths_B[row] = max(1, len(tokens) - 1 + max_extra_length)
    result = decode_batch(source_BS, max_lengths_B, num_words_B)
    for row, index in enumerate(indices):
      answers[index] = _hypotheses(result, row, num_best)
  return answers


def plan_batches(lengths, batch_tokens, row_multiple):
  """Groups sentences of like length: a list of (indices, (rows, width)).

  Longest first, each batch filled up with the next shorter ones, so only the last one can be part empty; and the shape
  that needs most memory comes first.
  """
  order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
  batches = []
  while order:
    width = _SMALLEST_WIDTH
    while width < lengths[order[0]]:
      width *= 2
    rows = _rows(width, len(order), batch_tokens, row_multiple)
    batches.append((order[:rows], (rows, width)))
    order = order[rows:]
  return batches


def _rows(width, wanted, batch_tokens, row_multiple):
  """Rows of the next batch: what `batch_tokens` allows, or an eighth of it where that is enough for all the rest."""
  full = max(1, batch_tokens // width // row_multiple) * row_multiple
  few = -(-full // (8 * row_multiple)) * row_multiple
  return few if wanted <= few else full


def _hypotheses(result, row, num_best):
  """The best of one row; the places of a SearchResult that hold none are left out, but for the first."""
  found = []
  for place in range(min(num_best, result.scores_BM.shape[1])):
    log_prob = float(result.log_probs_BM[row, place])
    if place and log_prob == -np.inf:
      break
    tokens = result.tokens_BMT[row, place, :result.lengths_BM[row, place]].tolist()
    found.append(Hypothesis(tokens[:-1] if tokens and tokens[-1] == EOS_ID else tokens, log_prob,
                            float(result.scores_BM[row, place]), bool(result.is_finished_BM[row, place])))
  return found
