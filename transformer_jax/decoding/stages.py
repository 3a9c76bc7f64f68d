"""Searches a batch in stages: settled sentences leave it, and the room grows with the outputs.

The sentences of a batch settle at very different positions, and few outputs become as long as they
may. In one piece, a search would compute all of them up to the last one, with room for the longest.
So it stops when fewer rows would do for the sentences that are not over, or the room is full. The
host then picks these sentences out, and the search goes on with fewer rows or more room. That
changes no result, as no sentence depends on the others.

Each shape (rows, room) is compiled once, so there are few: all rows, with room for most outputs; an
eighth of the rows, as `generate` has them too, with all the room; and only if more outputs than
that are long, all rows with all the room. If most outputs need half of all the room or more, the
first batches of a shape go on with all rows to their end: for them it would not pay to compile the
eighth. A shape of which there are many batches may go in smaller stages: it begins with less room,
which it keeps until it is full, and goes on with half of the rows, too.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int32

from transformer_jax import parallel
from transformer_jax.decoding.search_state import SearchResult, SearchState

_FEWEST_ROWS = 32  # of a device, with which a search goes on to its end
_PATIENCE = 4  # batches of a shape before fewer rows are compiled for it
# Sentences of a shape, on a device, before it pays to compile smaller stages for those that follow.
_MANY = 4096


class Progress(NamedTuple):
  """How far a search is; on the host the arrays are numpy's."""

  is_over_B: Bool[Array | np.ndarray, " B"]
  positions_B: Int32[Array | np.ndarray, " B"]  # tokens generated so far, the same on a device
  result: SearchResult


class Stages:
  """A search on all devices, in stages. The functions are what one device does.

  Args:
    start: function (model, room, *job) -> SearchState.
    advance: function (model, few, state) -> (state, Progress) that steps until at most `few`
      sentences are not over, or the room is full; `few` is traced.
    regroup: function (state, rows_R, room) -> the state of these rows, with this room.
    has_smaller: whether shapes that come often go in smaller stages.
  """

  def __init__(
    self,
    start: Callable[..., SearchState],
    advance: Callable[..., tuple[SearchState, Progress]],
    regroup: Callable[..., SearchState],
    has_smaller: bool = True,
  ) -> None:
    self._has_smaller = has_smaller
    # Rooms are static: a program for each.
    self._start = functools.cache(
      lambda room: parallel.on_devices(lambda model, *job: start(model, room, *job))
    )
    self._advance = parallel.on_devices(
      lambda model, few_1, state: advance(model, few_1[0], state), donate=2
    )
    self._regroup = functools.cache(
      lambda room: parallel.on_devices(lambda state, rows_R: regroup(state, rows_R, room))
    )
    # How many batches there were, by (rows of a device, shapes of the job).
    self._batches: collections.Counter[tuple[int, Any]] = collections.Counter()

  def search(
    self, model: Any, job: Sequence[np.ndarray | None], rooms: tuple[int, int]
  ) -> SearchResult:
    """Returns the outputs of a batch, in all processes.

    Args:
      model: what `start` and `advance` take, replicated.
      job: what `start` takes of this process's sentences, [B, ...] or None. Each device has as many
        rows.
      rooms: the tokens of most outputs, and the most of any.
    """
    full_room = rooms[1]
    num_devices = parallel.num_devices()
    num_sentences = parallel.num_processes() * next(
      len(array) for array in job if array is not None
    )
    rows = num_sentences // num_devices  # of a device
    shapes = tuple(None if array is None else array.shape[1:] for array in job)
    is_smaller = self._is_smaller(rows, shapes)
    room = _first_room(rows, rooms, is_smaller)
    sizes = self._sizes(rows, shapes, room < full_room)
    self._batches[rows, shapes] += 1
    by_device = [None if array is None else parallel.split_rows(array) for array in job]
    state = self._start(room)(model, *by_device)
    # Of each row of the state, its place in the batch.
    place_DR = np.arange(num_sentences).reshape(num_devices, rows)
    found = None
    while True:
      few = max((size for size in sizes if size < rows), default=0)
      few_D = np.full(num_devices, few, np.int32)
      state, progress = self._advance(model, parallel.shard_rows(few_D), state)
      progress = parallel.gather_rows(progress, num_devices * rows)
      found = _collect(found, progress.result, place_DR.reshape(-1), full_room)
      is_over_DR = progress.is_over_B.reshape(num_devices, rows)
      live = int((~is_over_DR).sum(axis=1).max())
      if live == 0:
        return found
      if not is_smaller or progress.positions_B.max() == room:
        room = full_room
      rows = min(size for size in sizes if size >= live)
      # Those that are not over come first, in their order.
      chosen_DR = np.argsort(is_over_DR, axis=1, kind="stable")[:, :rows].astype(np.int32)
      place_DR = np.take_along_axis(place_DR, chosen_DR, axis=1)
      state = self._regroup(room)(state, parallel.shard_rows(chosen_DR.reshape(-1)))

  def _is_smaller(self, rows: int, shapes: Any) -> bool:
    """Returns whether a batch of so many rows of a device goes in smaller stages."""
    return self._has_smaller and rows * self._batches[rows, shapes] >= _MANY

  def _sizes(self, rows: int, shapes: Any, has_growing_room: bool) -> list[int]:
    """Returns with how many rows of a device a batch of so many may go on, itself included.

    A room that grows needs another program in any case, so it may as well have fewer rows.
    """
    sizes = [rows]
    while sizes[-1] > _FEWEST_ROWS:
      sizes.append(-(-sizes[-1] // 8))
    if len(sizes) == 1:
      return sizes
    if self._is_smaller(rows, shapes):
      return [*sizes, -(-rows // 2)]
    has_come = self._batches[rows, shapes] >= _PATIENCE or self._batches[sizes[1], shapes] > 0
    return sizes if has_growing_room or has_come else sizes[:1]


def _first_room(rows: int, rooms: tuple[int, int], is_smaller: bool) -> int:
  """Returns the tokens that a batch of so many rows of a device has room for at first."""
  most_room, full_room = rooms
  if rows <= _FEWEST_ROWS:
    return full_room
  if is_smaller:
    return max(1, 2 * most_room // 3)  # of a translation, the tokens that its source is padded to
  return most_room if 2 * most_room < full_room else full_room


def _collect(
  found: SearchResult | None, result: SearchResult, places: np.ndarray, full_room: int
) -> SearchResult:
  """Writes the outputs of these places into those of the batch, and returns them.

  Outputs that are not final are replaced later.
  """
  if found is None:
    num_best = result.scores_BM.shape[1]
    tokens_BMT = np.zeros((len(places), num_best, full_room), np.int32)
    found = SearchResult(tokens_BMT, *(np.zeros_like(array) for array in result[1:]))
  found.tokens_BMT[places, :, : result.tokens_BMT.shape[-1]] = result.tokens_BMT
  for array, part in zip(found[1:], result[1:], strict=True):
    array[places] = part
  return found
