"""Greedy search is argmax decoding, and differs from a beam of one where it should."""

import numpy as np
from table_models import log_probabilities, n_best, random_tables, run_search

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.length_penalty import length_penalty


def argmax_output(model, limit, least=0):
  """Returns (tokens, log-probability) by the most probable token at each position, in a loop."""
  tokens = ()
  total = 0.0
  while len(tokens) < limit and EOS_ID not in tokens:
    log_probs = model(tokens).copy()
    if len(tokens) + 1 < least:
      log_probs[EOS_ID] = -np.inf
    tokens += (int(np.argmax(log_probs)),)
    total += log_probs[tokens[-1]]
  return tokens, total


def test_greedy_is_argmax_decoding_with_limits_and_minimum():
  tables = random_tables(1, batch=300, vocab=6, depth=5, eos_bias=0.5)
  limits = np.arange(300) % 5 + 1
  least = np.arange(300) % 3
  result = run_search(tables, limits, least, beam_size=1, max_length=5, greedy=True)
  unfinished = 0
  for row, table in enumerate(tables):
    tokens, log_prob = argmax_output(log_probabilities(table), limits[row], least[row])
    ((ours, score, finished),) = n_best(result, row)
    assert ours == tokens and finished == (tokens[-1] == EOS_ID)
    np.testing.assert_allclose(score, log_prob / length_penalty(len(tokens), 0.6), rtol=1e-5)
    np.testing.assert_allclose(result.log_probs_BM[row, 0], log_prob, rtol=1e-5)
    assert (result.tokens_BMT[row, 0, len(tokens) :] == PAD_ID).all()
    unfinished += not finished
  assert 0 < unfinished < 300


def test_a_batch_gives_each_sentence_the_result_it_gets_by_itself():
  tables = random_tables(2, batch=32, vocab=6, depth=5)
  limits = np.arange(32) % 6
  together = run_search(tables, limits, beam_size=1, max_length=5, greedy=True)
  for row in range(32):
    only = slice(row, row + 1)
    alone = run_search(tables[only], limits[only], beam_size=1, max_length=5, greedy=True)
    for ours, batched in zip(alone, together, strict=True):
      np.testing.assert_array_equal(ours[0], batched[row])


def test_a_beam_of_one_goes_on_where_greedy_search_ends():
  table = np.full((1, 7, 4), -30.0, np.float32)
  table[0, 0, [EOS_ID, 2]] = np.log([0.4, 0.6])  # the word 2 then leads to six equally bad tokens
  table[0, 1] = 0.0
  greedy = run_search(table, alpha=0.0, beam_size=1, max_length=3, greedy=True)
  beam = run_search(table, alpha=0.0, beam_size=1, max_length=3)
  assert n_best(greedy, 0)[0][0] == (2, EOS_ID)  # of equal tokens the lowest, and never PAD
  assert n_best(beam, 0)[0][0] == (EOS_ID,)


def test_a_limit_of_zero_asks_for_nothing():
  result = run_search(
    random_tables(3, batch=2, vocab=5, depth=4), [0, 4], beam_size=1, max_length=4, greedy=True
  )
  assert result.lengths_BM[0, 0] == 0
  assert result.scores_BM[0, 0] == -np.inf
  assert not result.is_finished_BM[0, 0]
  assert result.lengths_BM[1, 0] > 0
