"""From a stream of sentences to their outputs, in order, through batches of few static shapes. Numpy only, no device.

Each shape (rows, width) is compiled once, so there are few: widths are powers of two, and a width has three numbers of
rows: for full batches, for a few left-over sentences, and for one alone.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from transformer_jax.config import EOS_ID, PAD_ID

_SMALLEST_WIDTH = 16
_FIRST_WINDOW = 32  # small, so that the first answers come early
_WINDOW_GROWTH = 8
_WINDOW_BATCHES = 64  # full batches' worth of source tokens that a window reads at most
# Positions that hypotheses may fill, for each source position of a batch: the paper's beam of 4 with 50 tokens more than
# the source has takes 4 * (16 + 50) / 16 at the smallest width. Wider beams and longer outputs get fewer rows.
_SEARCH_POSITIONS = 17


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


def generate(
  sources,
  decode_batch,
  *,
  batch_tokens,
  max_extra_length,
  beam_size=1,
  num_best=1,
  row_multiple=1,
  window=2048,
  is_at_hand=lambda: True,
):
  """Yields the up to `num_best` Hypotheses of each source, best first, at least one, in the order of `sources`.

  Sentences are read a window at a time and sorted by length within it; the first windows are smaller, and none waits for
  a sentence that is not at hand. Nothing is read before it is needed, so `sources` may be endless.

  Args:
    sources: iterable of Sources; None is one that nothing is asked of, its answer an empty list.
    decode_batch: function (source int32 [B, S], max_lengths int32 [B], num_words int32 [B]) -> SearchResult of numpy arrays. B is a
      multiple of `row_multiple`; rows that only fill up are all PAD and have the limit 0.
    batch_tokens: padded source positions of a batch, B * S, at most, unless a single row per device has more. What wide
      beams and long outputs fill beside is bounded by it too.
    max_extra_length: an output has at most as many tokens, EOS included, as its source without EOS plus this.
    beam_size: hypotheses of each sentence that the search keeps.
    num_best: hypotheses wanted of each.
    row_multiple: number of devices that rows are split over.
    window: most sentences read ahead.
    is_at_hand: function () -> whether the next of `sources` can be had without waiting.
  """
  sources = iter(sources)
  size = min(_FIRST_WINDOW, window)
  cost = lambda width: max(width, -(-beam_size * (width + max_extra_length) // _SEARCH_POSITIONS))
  while rows := _read_window(sources, size, _WINDOW_BATCHES * batch_tokens, is_at_hand):
    lengths = [len(source.tokens) for source in rows if source]
    batches = plan_batches(lengths, batch_tokens, row_multiple, cost)
    yield from _answer_window(rows, batches, decode_batch, max_extra_length, num_best)
    if len(rows) == size:
      size = min(size * _WINDOW_GROWTH, window)


def _read_window(sources, size, max_tokens, is_at_hand):
  """The next source and what follows at hand, up to `size` of them, or until they have `max_tokens`."""
  window, tokens = [], 0
  for source in sources:
    window.append(source)
    tokens += len(source.tokens) if source else 0
    if len(window) == size or tokens >= max_tokens or not is_at_hand():
      break
  return window


def _answer_window(sources, batches, decode_batch, max_extra_length, num_best):
  """The n-best lists of the sources, in their order; `batches` are planned for those that are not None."""
  answers = [[] for _ in sources]
  asked = [index for index, source in enumerate(sources) if source]
  for places, shape in batches:
    indices = [asked[place] for place in places]
    source_BS = np.full(shape, PAD_ID, np.int32)
    max_lengths_B, num_words_B = np.zeros(shape[0], np.int32), np.zeros(shape[0], np.int32)
    for row, index in enumerate(indices):
      tokens, num_words_B[row] = sources[index]
      source_BS[row, : len(tokens)] = tokens
      max_lengths_B[row] = max(1, len(tokens) - 1 + max_extra_length)
    result = decode_batch(source_BS, max_lengths_B, num_words_B)
    for row, index in enumerate(indices):
      answers[index] = _hypotheses(result, row, num_best)
  return answers


def plan_batches(lengths, batch_tokens, row_multiple, cost=lambda width: width):
  """Groups sentences of like length: a list of (indices, (rows, width)).

  Longest first, each batch filled up with the next shorter ones, so only the last one can be part empty; and the shape
  that needs most memory comes first. A row of a width costs `cost(width)` of `batch_tokens`; one per
  device there always is.
  """
  order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
  batches = []
  while order:
    width = width_for(lengths[order[0]])
    rows = _rows(batch_tokens // cost(width), len(order), row_multiple)
    batches.append((order[:rows], (rows, width)))
    order = order[rows:]
  return batches


def width_for(length):
  """The power of two that so many tokens are padded to."""
  width = _SMALLEST_WIDTH
  while width < length:
    width *= 2
  return width


def _rows(room, wanted, row_multiple):
  """Rows of the next batch: one per device or an eighth of the room where the rest fits, else all the room."""
  full = max(1, room // row_multiple) * row_multiple
  few = -(-full // (8 * row_multiple)) * row_multiple
  return row_multiple if wanted <= row_multiple else few if wanted <= few else full


def _hypotheses(result, row, num_best):
  """The best of one row; the places of a SearchResult that hold none are left out, but for the first."""
  found = []
  for place in range(min(num_best, result.scores_BM.shape[1])):
    log_prob = float(result.log_probs_BM[row, place])
    if place and log_prob == -np.inf:
      break
    tokens = result.tokens_BMT[row, place, : result.lengths_BM[row, place]].tolist()
    found.append(
      Hypothesis(
        tokens[:-1] if tokens and tokens[-1] == EOS_ID else tokens,
        log_prob,
        float(result.scores_BM[row, place]),
        bool(result.is_finished_BM[row, place]),
      )
    )
  return found
