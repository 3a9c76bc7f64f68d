"""Beam search over random tables: against exhaustive search, the reference, and itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from declared_shapes import assert_as_declared
from table_models import log_probabilities, n_best, random_tables, run_search, tokens_to_logits_of

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES, length_penalty
from transformer_jax.decoding.search_state import initial_state
from transformer_jax.reference import beam_search as reference


def assert_same_list(ours, expected):
  """Asserts the same tokens in the same order, and the same scores."""
  assert [tokens for tokens, *_ in ours] == [tokens for tokens, _ in expected]
  np.testing.assert_allclose(
    [score for _, score, _ in ours], [score for _, score in expected], rtol=2e-5, atol=2e-6
  )


def test_the_state_has_the_shapes_that_it_declares():
  assert_as_declared(initial_state((), beam_size=3, room=5, limits_B=jnp.array([4, 0])))


@pytest.mark.parametrize("form", LENGTH_PENALTIES)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.4])
def test_a_wide_beam_lists_every_output_in_order(form, alpha, monkeypatch):
  monkeypatch.setattr(reference, "penalty", LENGTH_PENALTIES[form])
  tables = random_tables(1, batch=150, vocab=4, depth=4)
  # 15 outputs of up to 4 tokens end in EOS, and at most 8 hypotheses live: 16 slots hold all.
  result = run_search(tables, alpha=alpha, beam_size=16, max_length=4, form=form)
  for row, table in enumerate(tables):
    everything = reference.exhaustive_search(log_probabilities(table), alpha, 4, EOS_ID)
    assert len(everything) == 15
    ours = n_best(result, row)
    assert_same_list(ours[:15], everything)
    assert [finished for *_, finished in ours] == [True] * 15 + [False]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.4])
@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_a_narrow_beam_is_the_reference_beam_search(beam_size, alpha):
  tables = random_tables(2, batch=150, vocab=6, depth=5, eos_bias=0.5)
  result = run_search(tables, alpha=alpha, beam_size=beam_size, max_length=5)
  missed = 0
  for row, table in enumerate(tables):
    model = log_probabilities(table)
    ours = n_best(result, row)
    assert_same_list(ours, reference.beam_search(model, beam_size, alpha, 5, EOS_ID))
    best_tokens, _ = reference.exhaustive_search(model, alpha, 5, EOS_ID)[0]
    missed += best_tokens != ours[0][0]
  assert beam_size > 2 or missed > 0, "a narrow beam that misses nothing makes this test empty"


def test_log_probs_are_of_the_tokens_and_scores_are_penalized():
  tables = random_tables(3, batch=40, vocab=6, depth=5)
  result = run_search(tables, beam_size=4, max_length=5)
  for row, table in enumerate(tables):
    model = log_probabilities(table)
    for m, (tokens, score, finished) in enumerate(n_best(result, row)):
      log_prob = sum(model(tokens[:i])[token] for i, token in enumerate(tokens))
      np.testing.assert_allclose(result.log_probs_BM[row, m], log_prob, rtol=1e-5)
      np.testing.assert_allclose(score, log_prob / ((5 + len(tokens)) / 6) ** 0.6, rtol=1e-5)
      assert finished == (tokens[-1] == EOS_ID)
      assert PAD_ID not in tokens and EOS_ID not in tokens[:-1]
      assert (result.tokens_BMT[row, m, len(tokens) :] == PAD_ID).all()


def test_a_batch_of_32_gives_each_sentence_the_result_it_gets_by_itself():
  tables = random_tables(4, batch=32, vocab=6, depth=6)
  tables[::5, :, EOS_ID] += 4.0  # over at once, and must stay as they are while the others go on
  limits = np.arange(32) % 7
  together = run_search(tables, limits, beam_size=4, max_length=6)
  assert (together.lengths_BM.max(axis=1) <= limits).all()
  for row in range(32):
    alone = run_search(tables[row : row + 1], limits[row : row + 1], beam_size=4, max_length=6)
    for ours, batched in zip(alone, together, strict=True):
      np.testing.assert_array_equal(ours[0], batched[row])


def test_a_limit_is_that_of_a_search_with_less_room():
  tables = random_tables(5, batch=60, vocab=5, depth=6)
  roomy = run_search(tables, np.full(60, 3), beam_size=3, max_length=6)
  tight = run_search(tables, beam_size=3, max_length=3)
  np.testing.assert_array_equal(roomy.tokens_BMT[..., :3], tight.tokens_BMT)
  assert not roomy.tokens_BMT[..., 3:].any()
  np.testing.assert_array_equal(roomy.scores_BM, tight.scores_BM)
  beyond = run_search(tables, np.full(60, 99), beam_size=3, max_length=3)
  np.testing.assert_array_equal(beyond.tokens_BMT, tight.tokens_BMT)


def test_a_limit_of_zero_asks_for_nothing():
  result = run_search(
    random_tables(5, batch=2, vocab=5, depth=4), [0, 4], beam_size=3, max_length=4, form="power"
  )
  for of_nothing in (result.lengths_BM[0], result.tokens_BMT[0], result.is_finished_BM[0]):
    assert not of_nothing.any()
  assert (result.scores_BM[0] == -np.inf).all()
  assert (result.log_probs_BM[0] == -np.inf).all()
  assert result.lengths_BM[1].all()


def test_unfinished_outputs_follow_the_finished_ones():
  tables = random_tables(6, batch=80, vocab=5, depth=4, eos_bias=-2.5)
  result = run_search(tables, beam_size=4, max_length=4)
  mixed = 0
  for row, table in enumerate(tables):
    ours = n_best(result, row)
    assert_same_list(ours, reference.beam_search(log_probabilities(table), 4, 0.6, 4, EOS_ID))
    is_finished = [finished for *_, finished in ours]
    assert is_finished == sorted(is_finished, reverse=True)
    assert all(len(tokens) == 4 for tokens, _, finished in ours if not finished)
    finished_scores = [score for _, score, finished in ours if finished]
    unfinished_scores = [score for _, score, finished in ours if not finished]
    if finished_scores and unfinished_scores:
      mixed += max(unfinished_scores) > min(finished_scores)
  assert mixed, "no case in which an unfinished output has a better score than a finished one"


def test_nothing_finished_gives_the_live_hypotheses():
  tables = random_tables(7, batch=20, vocab=5, depth=4)
  result = run_search(tables, min_lengths=np.full(20, 5), beam_size=3, max_length=4)
  assert not result.is_finished_BM.any() and (result.lengths_BM == 4).all()
  np.testing.assert_allclose(
    result.scores_BM, result.log_probs_BM / length_penalty(4, 0.6), rtol=1e-6
  )
  assert (np.diff(result.scores_BM, axis=1) <= 0).all()


def test_min_length_forbids_eos_and_nothing_else():
  tables = random_tables(8, batch=60, vocab=5, depth=5, eos_bias=2.0)
  minimum = np.arange(60) % 6
  result = run_search(tables, min_lengths=minimum, beam_size=3, max_length=5)
  for row, table in enumerate(tables):
    model = log_probabilities(table)

    def without_eos(prefix, model=model, least=minimum[row]):
      log_probs = model(prefix).copy()
      if len(prefix) + 1 < least:
        log_probs[EOS_ID] = -np.inf
      return log_probs

    assert_same_list(n_best(result, row), reference.beam_search(without_eos, 3, 0.6, 5, EOS_ID))
    assert (result.lengths_BM[row] >= minimum[row]).all()
  exactly = run_search(tables, np.full(60, 4), np.full(60, 4), beam_size=3, max_length=5)
  assert (exactly.lengths_BM == 4).all()


def test_no_copies_where_there_are_fewer_continuations_than_places():
  # One word: the outputs are 1; 2 1; 2 2 1, and 2 2 2 unfinished.
  tables = random_tables(9, batch=20, vocab=3, depth=3)
  result = run_search(tables, beam_size=6, max_length=3)
  for row in range(20):
    ours = n_best(result, row)
    assert {tokens for tokens, *_ in ours[:3]} == {(1,), (2, 1), (2, 2, 1)}
    assert ours[3][0] == (2, 2, 2) and len(ours) == 4
    assert (result.scores_BM[row, 4:] == -np.inf).all()
    assert not result.is_finished_BM[row, 3:].any()


def test_equal_scores_are_settled_the_same_way():
  tables = np.zeros((1, 40, 5), np.float32)
  first = run_search(tables, alpha=0.0, beam_size=2, max_length=4)
  assert n_best(first, 0)[0][0] == (EOS_ID,)
  assert n_best(first, 0)[1][0] == (2, EOS_ID), "of equal tokens the lower id comes first"


def test_the_search_stops_when_nothing_can_win():
  steps = []

  def sure_to_end(tokens_BM, position, cache):
    jax.debug.callback(lambda p: steps.append(int(p)), position)
    surely_eos = jnp.array([0.0, 30.0, 0.0, 0.0, 0.0])
    hardly_eos = jnp.array([0.0, -20.0, 3.0, 2.0, 1.0])
    logits_C = jnp.where(position == 2, surely_eos, hardly_eos)
    return jnp.broadcast_to(logits_C, (*tokens_BM.shape, 5)), cache

  result = beam_search(
    sure_to_end,
    (),
    batch_size=1,
    beam_size=2,
    max_length=50,
    max_lengths_B=np.array([50]),
    penalty=lambda length: length_penalty(length, 0.6),
  )
  jax.effects_barrier()
  assert sorted(steps) == [0, 1, 2]
  assert result.is_finished_BM.all() and (result.lengths_BM == 3).all()


@pytest.mark.parametrize("num_best", [1, 2])
def test_fewer_best_are_the_first_of_the_same_list(num_best):
  tables = random_tables(11, batch=100, vocab=6, depth=5, eos_bias=0.5)
  everything = run_search(tables, beam_size=4, max_length=5)
  fewer = run_search(tables, beam_size=4, max_length=5, num_best=num_best)
  for ours, expected in zip(fewer, everything, strict=True):
    np.testing.assert_array_equal(ours, expected[:, :num_best])


def test_the_search_waits_for_a_hypothesis_that_gains_by_its_length():
  """With alpha 2 a long sure continuation beats the short output that is finished first."""

  def model(tokens_BM, position, cache):
    # EOS at once: log 0.73; a word: log 0.27, and then 8 sure words.
    at_first = jnp.array([-30.0, 1.0, 0.0, -30.0])
    later = jnp.array([-30.0, -30.0, 0.0, -30.0])
    at_last = jnp.array([-30.0, 0.0, -30.0, -30.0])
    logits_C = jnp.where(position == 9, at_last, later)
    logits_C = jnp.where(position == 0, at_first, logits_C)
    return jnp.broadcast_to(logits_C, (*tokens_BM.shape, 4)), cache

  result = beam_search(
    model,
    (),
    batch_size=1,
    beam_size=1,
    max_length=10,
    max_lengths_B=np.array([10]),
    penalty=lambda length: length_penalty(length, 2.0),
  )
  assert n_best(jax.device_get(result), 0)[0][0] == (2,) * 9 + (EOS_ID,)


def test_reorder_is_given_the_parents():
  tables = random_tables(10, batch=8, vocab=6, depth=5)
  model = tokens_to_logits_of(jnp.asarray(tables))
  seen = []

  def indirect(tokens_BM, position, cache):
    # The nodes never move: a table says where each hypothesis' node lies.
    nodes_BM, rows_BM = cache
    logits, nodes_BM = model(tokens_BM, position, jnp.take_along_axis(nodes_BM, rows_BM, axis=1))
    return logits, (nodes_BM, jnp.broadcast_to(jnp.arange(tokens_BM.shape[1]), rows_BM.shape))

  def reorder(cache, parents_BM):
    seen.append(parents_BM.shape)
    nodes_BM, rows_BM = cache
    return nodes_BM, jnp.take_along_axis(rows_BM, parents_BM, axis=1)

  zeros = jnp.zeros((8, 3), jnp.int32)
  ours = beam_search(
    indirect,
    (zeros, zeros),
    batch_size=8,
    beam_size=3,
    max_length=5,
    max_lengths_B=np.full(8, 5),
    penalty=lambda length: length_penalty(length, 0.6),
    reorder=reorder,
  )
  expected = run_search(tables, beam_size=3, max_length=5)
  np.testing.assert_array_equal(ours.tokens_BMT, expected.tokens_BMT)
  assert seen == [(8, 3)]


def first_outputs(model, beam_size, limit):
  """Returns [(tokens, score)] of a search that ends when `beam_size` hypotheses have finished."""
  alive, finished = [((), 0.0)], []
  for length in range(1, limit + 1):
    continuations = [
      ((*tokens, token), total + log_prob)
      for tokens, total in alive
      for token, log_prob in enumerate(model(tokens))
    ]
    continuations.sort(key=lambda item: -item[1])
    for tokens, total in continuations[:beam_size]:
      if tokens[-1] == EOS_ID:
        finished.append((tokens, total / length_penalty(length, 0.6)))
    if len(finished) >= beam_size:
      break
    alive = [item for item in continuations if item[0][-1] != EOS_ID][:beam_size]
  return sorted(finished, key=lambda item: -item[1])[:beam_size]


def test_early_stopping_ends_with_the_first_hypotheses_that_finish():
  tables = random_tables(12, batch=100, vocab=6, depth=5, eos_bias=0.5)
  first = run_search(tables, beam_size=3, max_length=5, early_stopping="first")
  exact = run_search(tables, beam_size=3, max_length=5)
  for row, table in enumerate(tables):
    ours = [hypothesis for hypothesis in n_best(first, row) if hypothesis[2]]
    assert_same_list(ours, first_outputs(log_probabilities(table), 3, 5))
  best, of_first = exact.scores_BM[:, 0], first.scores_BM[:, 0]
  assert (of_first[first.is_finished_BM[:, 0]] < best[first.is_finished_BM[:, 0]]).any()


def test_not_a_number_ends_the_search():
  result = run_search(np.full((2, 21, 6), np.nan, np.float32), beam_size=2, max_length=3)
  assert np.isnan(result.scores_BM).any()
