"""Searches a batch in stages: settled sentences leave it, and the room grows with the outputs.

The sentences of a batch settle at very different positions, and few outputs become as long as they
may. In one piece, a search would compute all of them up to the last one, with room for the longest.
So it stops when an eighth of the rows would do for the sentences that are not over, or the room is
full. The host then picks these sentences out, and the search goes on with fewer rows or more room.
That changes no result, as no sentence depends on the others.

Each shape (rows, room) is compiled once, so there are few: all rows and an eighth of them, as
`generate` has them too; and room for a third of the most tokens of an output, then for all. A few
rows have all the room from the start.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int32

from transformer_jax import parallel
from transformer_jax.decoding.search_state import SearchResult, SearchState

_FEWER = 8  # rows are divided by this
_FEWEST_ROWS = 32  # of a device, with which a search goes on to its end
_FIRST_ROOM = 3  # the first room is this part of all


class Progress(NamedTuple):
  """How far a search is; on the host the arrays are numpy's."""

  position: Int32[Array | np.ndarray, "..."]
  is_over_B: Bool[Array | np.ndarray, " B"]
  result: SearchResult


class Stages:
  """A search on all devices, in stages. The functions are what one device does.

  Args:
    start: function (params, gates, room, source_BS, max_lengths_B, num_words_B) -> SearchState.
    advance: function (params, gates, few, state) -> (state, Progress) that steps until at most
      `few` sentences are not over, or the room is full.
    regroup: function (state, rows_R, room) -> the state of these rows, with this room.
  """

  def __init__(
    self,
    start: Callable[..., SearchState],
    advance: Callable[..., tuple[SearchState, Progress]],
    regroup: Callable[..., SearchState],
  ) -> None:
    # Rooms and numbers of rows are static: a program for each.
    self._start = functools.cache(
      lambda room: parallel.on_devices(lambda params, gates, *job: start(params, gates, room, *job))
    )
    self._advance = functools.cache(
      lambda few: parallel.on_devices(
        lambda params, gates, state: advance(params, gates, few, state), donate=2
      )
    )
    self._regroup = functools.cache(
      lambda room: parallel.on_devices(lambda state, rows_R: regroup(state, rows_R, room))
    )

  def search(
    self, model: tuple[Any, Any], job: tuple[np.ndarray, np.ndarray, np.ndarray], full_room: int
  ) -> SearchResult:
    """Returns the outputs of a batch.

    Args:
      model: (replicated params, replicated gates or None).
      job: (source_BS, max_lengths_B, num_words_B).
      full_room: the most tokens that an output may have.
    """
    num_sentences = len(job[0])
    num_devices = parallel.num_devices()
    rows = -(-num_sentences // num_devices)  # of a device
    room = full_room if rows <= _FEWEST_ROWS else -(-full_room // _FIRST_ROOM)
    state = self._start(room)(*model, *map(parallel.shard_rows, job))
    # Of each row of the state, its place in the batch.
    place_DR = np.arange(num_devices * rows).reshape(num_devices, rows)
    found = None
    while True:
      few = rows // _FEWER if rows > _FEWEST_ROWS else 0
      state, progress = self._advance(few)(*model, state)
      progress = parallel.gather_rows(progress, num_devices * rows)
      found = _collect(found, progress.result, place_DR.reshape(-1), full_room)
      is_over_DR = progress.is_over_B.reshape(num_devices, rows)
      live = int((~is_over_DR).sum(axis=1).max())
      if live == 0:
        return SearchResult(*(array[:num_sentences] for array in found))
      if live <= few:
        rows = few
      if progress.position.max() == room:
        room = full_room
      # Those that are not over come first, in their order.
      chosen_DR = np.argsort(is_over_DR, axis=1, kind="stable")[:, :rows].astype(np.int32)
      place_DR = np.take_along_axis(place_DR, chosen_DR, axis=1)
      state = self._regroup(room)(state, parallel.shard_rows(chosen_DR.reshape(-1)))


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
