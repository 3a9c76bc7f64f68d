"""An ensemble's search is a search over the mean of its members' probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table_models import n_best, random_tables, run_search, tokens_to_logits_of

from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.ensemble import ensemble, mean_log_probs
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.decoding.search_state import Steps, gather_beams

BATCH, VOCAB, ROOM = 12, 5, 5


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_search_is_that_over_the_mean_probabilities(beam_size):
  """The caches are the nodes that hypotheses are at, so each member's must be reordered."""
  tables = [random_tables(seed, BATCH, VOCAB, ROOM) for seed in (1, 2, 3)]
  caches = (jnp.zeros((BATCH, beam_size), jnp.int32),) * len(tables)
  steps = ensemble([Steps(tokens_to_logits_of(t), gather_beams) for t in tables])
  shared: dict[str, Any] = dict(
    batch_size=BATCH,
    max_length=ROOM,
    max_lengths_B=np.full(BATCH, ROOM, np.int32),
    penalty=lambda length: length_penalty(length, 0.6),
  )
  if beam_size == 1:
    result = greedy_search(steps.tokens_to_logits, caches, **shared)
  else:
    result = beam_search(
      steps.tokens_to_logits, caches, beam_size=beam_size, reorder=steps.reorder, **shared
    )
  probabilities = [np.exp(jax.nn.log_softmax(table.astype(np.float64))) for table in tables]
  mean = np.log(np.mean(probabilities, axis=0)).astype(np.float32)
  expected = run_search(
    mean, alpha=0.6, beam_size=beam_size, max_length=ROOM, greedy=beam_size == 1
  )
  result = jax.device_get(result)
  alone = run_search(
    tables[0], alpha=0.6, beam_size=beam_size, max_length=ROOM, greedy=beam_size == 1
  )
  num_equal = 0
  for row in range(BATCH):
    ours, theirs = n_best(result, row), n_best(expected, row)
    assert [tokens for tokens, _, _ in ours] == [tokens for tokens, _, _ in theirs]
    np.testing.assert_allclose([s for _, s, _ in ours], [s for _, s, _ in theirs], rtol=1e-5)
    num_equal += ours[0][0] == n_best(alone, row)[0][0]
  assert num_equal < BATCH


def test_the_mean_is_arithmetic_and_knows_impossible_tokens():
  log_probs = jnp.log(jnp.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]], jnp.float32))
  mean = mean_log_probs([log_probs[0], log_probs[1]])
  np.testing.assert_allclose(np.exp(mean), [0.7, 0.3, 0.0], rtol=1e-6)


def test_a_single_model_is_no_ensemble():
  """So that its program stays as it is."""
  only = Steps(tokens_to_logits_of(random_tables(1, 1, VOCAB, ROOM)), gather_beams)
  assert ensemble([only]) is only
