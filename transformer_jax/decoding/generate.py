"""Decodes a stream of sentences, in order, through batches of few static shapes.

This file uses numpy only, no device. Each shape (rows, width) is compiled once, so there are few:
widths are powers of two, and each width has three numbers of rows: for a full batch, for a few
left-over sentences, and for a single one.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from transformer_jax.config import EOS_ID
from transformer_jax.data.pipeline import pad_rows
from transformer_jax.decoding.search_state import SearchResult

_SMALLEST_WIDTH = 16
_FIRST_WINDOW = 32  # small, so that the first answers come early
_WINDOW_GROWTH = 8
_WINDOW_BATCHES = 64  # a window reads at most the source tokens of this many full batches
# Positions that hypotheses may fill, for each source position of a batch: the paper's beam of 4
# with 50 tokens more than the source has takes 4 * (16 + 50) / 16 at the smallest width. Wider
# beams and longer outputs get fewer rows.
_SEARCH_POSITIONS = 17

# (source int32 [B, S], max_lengths int32 [B], num_words int32 [B]) -> SearchResult of numpy arrays
DecodeBatch = Callable[[np.ndarray, np.ndarray, np.ndarray], SearchResult]
# Places of sentences in a list, and the (rows, width) of the batch that holds them.
PlannedBatch = tuple[list[int], tuple[int, int]]


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


def generate(  # noqa: PLR0913  independent settings, all by keyword
  sources: Iterable[Source | None],
  decode_batch: DecodeBatch,
  *,
  batch_tokens: int,
  max_extra_length: int,
  beam_size: int = 1,
  num_best: int = 1,
  row_multiple: int = 1,
  window: int = 2048,
  is_at_hand: Callable[[], bool] = lambda: True,
) -> Iterator[list[Hypothesis]]:
  """Yields a list of 1 to `num_best` Hypotheses for each source in turn, best first.

  Sentences are read a window at a time and sorted by length within it; the first windows are
  smaller, and none waits for a sentence that is not at hand. Nothing is read before it is needed,
  so `sources` may be endless.

  Args:
    sources: the Sources; a None is answered with an empty list.
    decode_batch: function (source int32 [B, S], max_lengths int32 [B], num_words int32 [B]) ->
      SearchResult of numpy arrays. B is a multiple of `row_multiple`; padding rows are all PAD
      and have the limit 0.
    batch_tokens: the most padded source positions of a batch, B * S; only a single row per device
      may have more. Wide beams and long outputs get fewer rows.
    max_extra_length: an output has at most this many tokens, EOS included, beyond those of its
      source without EOS.
    beam_size: hypotheses of each sentence that the search keeps.
    num_best: requested hypotheses of each sentence.
    row_multiple: number of devices that rows are split over.
    window: the most sentences read ahead.
    is_at_hand: function () -> whether the next of `sources` can be read without waiting.
  """
  sources = iter(sources)
  size = min(_FIRST_WINDOW, window)
  max_tokens = _WINDOW_BATCHES * batch_tokens

  def cost(width):
    search_positions = beam_size * (width + max_extra_length)
    return max(width, -(-search_positions // _SEARCH_POSITIONS))

  while read := _read_window(sources, size, max_tokens, is_at_hand):
    lengths = [len(source.tokens) for source in read if source]
    batches = plan_batches(lengths, batch_tokens, row_multiple, cost)
    yield from _answer_window(read, batches, decode_batch, max_extra_length, num_best)
    if len(read) == size:
      size = min(size * _WINDOW_GROWTH, window)


def _read_window(
  sources: Iterator[Source | None], size: int, max_tokens: int, is_at_hand: Callable[[], bool]
) -> list[Source | None]:
  """Returns the next source, and those after it that are at hand, until the window is full.

  They are at most `size`; the last one may exceed `max_tokens`.
  """
  window = []
  tokens = 0
  for source in sources:
    window.append(source)
    if source:
      tokens += len(source.tokens)
    if len(window) == size or tokens >= max_tokens or not is_at_hand():
      break
  return window


def _answer_window(
  sources: list[Source | None],
  batches: list[PlannedBatch],
  decode_batch: DecodeBatch,
  max_extra_length: int,
  num_best: int,
) -> list[list[Hypothesis]]:
  """Returns the n-best lists of the sources, in their order.

  `batches` are planned for the sources that are not None.
  """
  asked = [source for source in sources if source]
  found: dict[int, list[Hypothesis]] = {}  # by place in `asked`
  for places, shape in batches:
    result = _decode([asked[place] for place in places], shape, decode_batch, max_extra_length)
    for row, place in enumerate(places):
      found[place] = _hypotheses(result, row, num_best)
  in_order = (found[place] for place in range(len(asked)))
  return [next(in_order) if source else [] for source in sources]


def _decode(
  sources: list[Source],
  shape: tuple[int, int],
  decode_batch: DecodeBatch,
  max_extra_length: int,
) -> SearchResult:
  """Returns the result of a batch of this shape; its first rows are the sources."""
  rows, width = shape
  max_lengths_B = np.zeros(rows, np.int32)
  num_words_B = np.zeros(rows, np.int32)
  for row, source in enumerate(sources):
    max_lengths_B[row] = max(1, len(source.tokens) - 1 + max_extra_length)
    num_words_B[row] = source.num_words
  source_BS = pad_rows([source.tokens for source in sources], rows, width)
  return decode_batch(source_BS, max_lengths_B, num_words_B)


def plan_batches(
  lengths: Sequence[int],
  batch_tokens: int,
  row_multiple: int,
  cost: Callable[[int], int] = lambda width: width,
) -> list[PlannedBatch]:
  """Groups sentences of like length.

  The longest come first, and each batch is filled up with the next shorter ones, so only the last
  one can be partly empty, and the shape that needs most memory comes first. A row takes up
  `cost(width)` of `batch_tokens`. Each device has at least one row.

  Returns:
    list of (places in `lengths`, (rows, width)).

  Example:
    plan_batches([5, 30, 7], batch_tokens=64, row_multiple=1)
    # [([1, 2], (2, 32)), ([0], (1, 16))]
  """
  order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
  batches = []
  while order:
    width = width_for(lengths[order[0]])
    rows = _rows(batch_tokens // cost(width), len(order), row_multiple)
    batches.append((order[:rows], (rows, width)))
    order = order[rows:]
  return batches


def width_for(length: int) -> int:
  """Returns the power of two that sequences of this length are padded to."""
  width = _SMALLEST_WIDTH
  while width < length:
    width *= 2
  return width


def _rows(room: int, remaining: int, row_multiple: int) -> int:
  """Returns the number of rows of the next batch, one of three.

  They are one row per device, an eighth of `room`, and all of it: the fewest that hold the
  `remaining` sentences.
  """
  full = max(1, room // row_multiple) * row_multiple
  few = -(-full // (8 * row_multiple)) * row_multiple
  if remaining <= row_multiple:
    return row_multiple
  if remaining <= few:
    return few
  return full


def _hypotheses(result: SearchResult, row: int, num_best: int) -> list[Hypothesis]:
  """Returns the best hypotheses of one row, at least one; other empty slots are left out."""
  found = []
  for slot in range(min(num_best, result.scores_BM.shape[1])):
    log_prob = float(result.log_probs_BM[row, slot])
    if slot and log_prob == -np.inf:
      break
    tokens = result.tokens_BMT[row, slot, : result.lengths_BM[row, slot]].tolist()
    if tokens and tokens[-1] == EOS_ID:
      tokens = tokens[:-1]
    score = float(result.scores_BM[row, slot])
    is_finished = bool(result.is_finished_BM[row, slot])
    found.append(Hypothesis(tokens, log_prob, score, is_finished))
  return found
