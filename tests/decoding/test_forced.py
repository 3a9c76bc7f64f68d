"""A forced search finds the best outputs that begin with a prefix, at the model's probability."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table_models import log_probabilities, n_best, random_tables, tokens_to_logits_of

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.forced import ForcedCache, force
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.decoding.search_state import Steps, gather_beams

VOCAB, DEPTH, BATCH = 5, 4, 40


def outputs_of(model, prefix):
  """Yields (tokens, log-probability) of every finished output that begins with a prefix."""

  def log_prob(tokens):
    return sum(model(tokens[:place])[token] for place, token in enumerate(tokens))

  def grow(tokens):
    yield (*tokens, EOS_ID), log_prob((*tokens, EOS_ID))
    if len(tokens) + 1 < DEPTH:
      for word in range(2, VOCAB):
        yield from grow((*tokens, word))

  return grow(prefix)


def prefixes_of(length):
  """Returns random prefixes, a sentence's each; the first sentence has none."""
  prefix_BT = np.random.default_rng(length).integers(2, VOCAB, (BATCH, length)).astype(np.int32)
  prefix_BT[0] = PAD_ID
  return prefix_BT


def arguments():
  return dict(
    batch_size=BATCH,
    max_length=DEPTH,
    max_lengths_B=jnp.full(BATCH, DEPTH),
    penalty=lambda length: length_penalty(length, 0.6),
  )


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_beam_that_holds_all_finds_the_best(length):
  tables = random_tables(3, BATCH, VOCAB, DEPTH)
  prefix_BT = prefixes_of(length)
  steps = force(Steps(tokens_to_logits_of(jnp.asarray(tables)), gather_beams))
  beam = 60
  cache = ForcedCache(jnp.zeros((BATCH, beam), jnp.int32), jnp.asarray(prefix_BT))
  result = jax.device_get(
    beam_search(steps.tokens_to_logits, cache, beam_size=beam, reorder=steps.reorder, **arguments())
  )
  for row, table in enumerate(tables):
    prefix = tuple(token for token in prefix_BT[row].tolist() if token != PAD_ID)
    scored = [
      (log_prob / length_penalty(len(tokens), 0.6), tokens)
      for tokens, log_prob in outputs_of(log_probabilities(table), prefix)
    ]
    finished = [(score, tokens) for tokens, score, is_over in n_best(result, row) if is_over]
    scores, outputs = zip(*finished, strict=True)
    expected_scores, expected_outputs = zip(*sorted(scored, reverse=True), strict=True)
    assert outputs == expected_outputs
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)


def test_greedy_search_goes_on_from_the_prefix():
  tables = random_tables(4, BATCH, VOCAB, DEPTH)
  prefix_BT = prefixes_of(2)
  steps = force(Steps(tokens_to_logits_of(jnp.asarray(tables))))
  cache = ForcedCache(jnp.zeros((BATCH, 1), jnp.int32), jnp.asarray(prefix_BT))
  result = jax.device_get(greedy_search(steps.tokens_to_logits, cache, **arguments()))
  for row, table in enumerate(tables):
    log_probs_of = log_probabilities(table)
    tokens = tuple(token for token in prefix_BT[row].tolist() if token != PAD_ID)
    while len(tokens) < DEPTH and EOS_ID not in tokens:
      tokens += (int(np.argmax(log_probs_of(tokens))),)
    ((ours, _, _),) = n_best(result, row)
    total = sum(log_probs_of(tokens[:place])[token] for place, token in enumerate(tokens))
    assert ours == tokens
    np.testing.assert_allclose(result.log_probs_BM[row, 0], total, rtol=1e-5)
