"""A search in stages finds what a search in one piece finds, with fewer rows at each stage."""

import jax.numpy as jnp
import numpy as np
import pytest
from table_models import random_tables, run_search, tokens_to_logits_of

from transformer_jax import parallel
from transformer_jax.config import EOS_ID
from transformer_jax.decoding.beam_search import BeamSearch
from transformer_jax.decoding.greedy import GreedySearch
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.decoding.search_state import Steps, gather_beams, regroup, run
from transformer_jax.decoding.stages import Progress, Stages

ROOM = 6
SENTENCES = 70  # more rows than a search keeps to its end, on one device


def penalty(length):
  return length_penalty(length, 0.6)


def table_steps():
  """Returns the steps of a search whose cache is (tables, node of each hypothesis)."""

  def tokens_to_logits(tokens_BM, position, cache):
    tables_BNC, node_BM = cache
    logits_BMC, node_BM = tokens_to_logits_of(tables_BNC)(tokens_BM, position, node_BM)
    return logits_BMC, (tables_BNC, node_BM)

  return Steps(tokens_to_logits, lambda cache, parents: (cache[0], gather_beams(cache[1], parents)))


def stages_of(kind, beam_size, shapes):
  """Returns the Stages of a search over tables, which are its source.

  The shapes (rows of a device, room) that are compiled are appended to `shapes`.
  """

  def start(params, gates, room, tables_BNC, limits_B, num_words_B):
    cache = tables_BNC, jnp.zeros((len(limits_B), beam_size), jnp.int32)
    return kind.start(cache, limits_B, room)

  def advance(params, gates, few, state):
    shapes.append((len(state.is_over_B), state.room))
    state = run(kind, table_steps(), state, few)
    return state, Progress(state.position, state.is_over_B, kind.result(state))

  def regrouped(state, rows_R, room):
    return regroup(state, rows_R, room, lambda cache, room: cache)

  return Stages(start, advance, regrouped)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_stages_find_what_one_piece_finds(beam_size):
  tables = random_tables(1, SENTENCES, vocab=5, depth=ROOM)
  tables[10:, :, EOS_ID] += 5.0  # over soon
  limits = np.full(SENTENCES, ROOM, np.int32)
  limits[:9] = np.arange(9)
  kind = GreedySearch(penalty) if beam_size == 1 else BeamSearch(beam_size, penalty, num_best=2)
  shapes = []
  job = tables, limits, np.zeros_like(limits)
  result = stages_of(kind, beam_size, shapes).search((None, None), job, ROOM)
  options = dict(greedy=True) if beam_size == 1 else dict(num_best=2)
  expected = run_search(tables, limits, beam_size=beam_size, max_length=ROOM, **options)
  for ours, theirs in zip(result, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  if parallel.num_devices() == 1:
    rows, rooms = zip(*shapes, strict=True)
    assert len(shapes) > 1, "it was a search in one piece"
    assert list(rows) == sorted(rows, reverse=True) and min(rows) == SENTENCES // 8
    assert list(rooms) == sorted(rooms) and min(rooms) == ROOM // 3


def test_a_few_sentences_are_searched_in_one_piece():
  shapes = []
  limits = np.full(3, ROOM, np.int32)
  job = random_tables(2, 3, vocab=5, depth=ROOM), limits, np.zeros_like(limits)
  stages_of(BeamSearch(2, penalty), 2, shapes).search((None, None), job, ROOM)
  assert [room for _, room in shapes] == [ROOM]
