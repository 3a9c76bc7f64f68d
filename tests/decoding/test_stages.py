"""A search in stages finds what a search in one piece finds, with fewer rows at each stage."""

import jax.numpy as jnp
import numpy as np
import pytest
from table_models import random_tables, run_search, tokens_to_logits_of

from transformer_jax import parallel
from transformer_jax.config import EOS_ID
from transformer_jax.decoding import stages as stages_module
from transformer_jax.decoding.beam_search import BeamSearch
from transformer_jax.decoding.greedy import GreedySearch
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.decoding.search_state import Steps, gather_beams, regroup, run
from transformer_jax.decoding.stages import Progress, Stages

FIRST_ROOM, ROOM = 2, 6
ROWS = 70  # of a device: more than a search keeps to its end
SENTENCES = ROWS * parallel.num_devices()


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

  def start(model, room, tables_BNC, limits_B):
    cache = tables_BNC, jnp.zeros((len(limits_B), beam_size), jnp.int32)
    return kind.start(cache, limits_B, room)

  def advance(model, few, state):
    shapes.append((len(state.is_over_B), state.room))
    state = run(kind, table_steps(), state, few)
    positions_B = jnp.broadcast_to(state.position, state.is_over_B.shape)
    return state, Progress(state.is_over_B, positions_B, kind.result(state))

  def regrouped(state, rows_R, room):
    return regroup(state, rows_R, room, lambda cache, room: cache)

  return Stages(start, advance, regrouped)


def limits_of(count):
  """Returns the limits of so many sentences: some have none, some are short."""
  limits = np.full(count, ROOM, np.int32)
  limits[:9] = np.arange(9)
  return limits


def assert_found(result, tables, limits, beam_size):
  options = dict(greedy=True) if beam_size == 1 else dict(num_best=2)
  expected = run_search(tables, limits, beam_size=beam_size, max_length=ROOM, **options)
  for ours, theirs in zip(result, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("soon", "later"), [(60, [(-(-ROWS // 8), ROOM)]), (2, [(ROWS, ROOM)])])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_stages_find_what_one_piece_finds(beam_size, soon, later):
  """Most sentences are over soon, or few: then all rows go on, with more room."""
  tables = random_tables(1, SENTENCES, vocab=5, depth=ROOM)
  tables[9:, :, EOS_ID] -= 5.0
  tables[-soon * parallel.num_devices() :, :, EOS_ID] += 25.0
  limits = limits_of(SENTENCES)
  kind = GreedySearch(penalty) if beam_size == 1 else BeamSearch(beam_size, penalty, num_best=2)
  shapes = []
  result = stages_of(kind, beam_size, shapes).search(None, (tables, limits), (FIRST_ROOM, ROOM))
  assert_found(result, tables, limits, beam_size)
  assert shapes[:2] == [(ROWS, FIRST_ROOM), *later]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_few_sentences_are_searched_in_one_piece_by_the_program_of_a_later_stage(beam_size):
  kind = GreedySearch(penalty) if beam_size == 1 else BeamSearch(beam_size, penalty, num_best=2)
  shapes = []
  stages = stages_of(kind, beam_size, shapes)
  for count in (SENTENCES, -(-ROWS // 8) * parallel.num_devices()):
    tables = random_tables(1, count, vocab=5, depth=ROOM)
    tables[9:, :, EOS_ID] += 20.0  # over soon
    result = stages.search(None, (tables, limits_of(count)), (FIRST_ROOM, ROOM))
    assert_found(result, tables, limits_of(count), beam_size)
  assert shapes == [(ROWS, FIRST_ROOM), (-(-ROWS // 8), ROOM)]


@pytest.mark.parametrize("has_small", [False, True])
def test_without_growing_room_fewer_rows_are_compiled_late(has_small):
  """Unless a small batch has compiled them before."""
  shapes = []
  stages = stages_of(BeamSearch(3, penalty, num_best=2), 3, shapes)
  fewer = -(-ROWS // 8)
  small = [fewer * parallel.num_devices()] * has_small
  by_batch = []
  for count in (*small, *[SENTENCES] * 5):
    tables = random_tables(1, count, vocab=5, depth=ROOM)
    tables[9:, :, EOS_ID] += 5.0  # over soon
    result = stages.search(None, (tables, limits_of(count)), (ROOM, ROOM))
    assert_found(result, tables, limits_of(count), 3)
    by_batch.append(len(shapes))
  expected = [fewer, ROWS] if has_small else [ROWS, fewer]
  assert shapes == [(rows, ROOM) for rows in expected]
  assert by_batch[-2] == (2 if has_small else 1)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_shape_that_comes_often_goes_in_smaller_stages(beam_size, monkeypatch):
  monkeypatch.setattr(stages_module, "_MANY", 2 * ROWS)
  kind = GreedySearch(penalty) if beam_size == 1 else BeamSearch(beam_size, penalty, num_best=2)
  shapes = []
  stages = stages_of(kind, beam_size, shapes)
  half = ROWS // 2
  tables = random_tables(1, SENTENCES, vocab=5, depth=ROOM)
  tables[..., EOS_ID] -= 10.0
  # Of each device, a few more than half are over soon; the others use all they may have.
  is_short = np.arange(SENTENCES) % ROWS >= half - 3
  tables[is_short, :, EOS_ID] += 20.0
  limits = np.full(SENTENCES, ROOM, np.int32)
  for _ in range(3):
    result = stages.search(None, (tables, limits), (ROOM - 1, ROOM))
    assert_found(result, tables, limits, beam_size)
  less = 2 * (ROOM - 1) // 3
  assert shapes == [(ROWS, ROOM), (ROWS, less), (half, less), (half, ROOM)]
