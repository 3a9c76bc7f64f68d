"""Search over the real model: with cache and without, in a batch and alone, padded and not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.decoding.search_state import SearchResult, gather_beams
from transformer_jax.model.transformer import Transformer

VOCAB, ROOM = 24, 9
SOURCE = np.array(
  [
    [5, 6, 7, 9, 1, 0, 0],
    [8, 3, 1, 0, 0, 0, 0],
    [4, 4, 4, 4, 11, 12, 1],
    [1, 0, 0, 0, 0, 0, 0],
    [9, 17, 20, 1, 0, 0, 0],
  ],
  np.int32,
)
LIMITS = np.array([9, 7, 9, 4, 8], np.int32)


@pytest.fixture(scope="module")
def model_and_params():
  config = Config().replace(
    num_layers=2, d_model=16, d_ff=24, num_heads=2, d_k=8, d_v=8, attention_kernel="xla"
  )
  model = Transformer(config.model, VOCAB, VOCAB)
  params = jax.jit(model.init)(jax.random.key(2), SOURCE, SOURCE)["params"]
  # Larger embeddings make sharper distributions than an untrained model has.
  return model, jax.tree.map(lambda x: 2.0 * x if x.shape == (VOCAB, 16) else x, params)


def make(model, params, beam_size, is_cached):
  """Returns a jitted search (source_BS, limits_B) -> SearchResult.

  Without the cache, each step runs the whole decoder.
  """

  def search(source_BS, limits_B):
    variables = {"params": params}
    batch = source_BS.shape[0]
    memory, cache = model.apply(variables, source_BS, beam_size, ROOM, method="start")

    def step(tokens_BM, position, cache):
      return model.apply(variables, tokens_BM, position, cache, memory, method="step")

    def whole(tokens_BM, position, previous_BMT):
      previous_BMT = jax.lax.dynamic_update_index_in_dim(previous_BMT, tokens_BM, position, axis=2)
      target_NT = previous_BMT[:, :, 1:].reshape(batch * beam_size, ROOM)
      logits_NTC = model.apply(variables, jnp.repeat(source_BS, beam_size, axis=0), target_NT)
      logits_NC = jax.lax.dynamic_index_in_dim(logits_NTC, position, axis=1, keepdims=False)
      return logits_NC.reshape(batch, beam_size, -1), previous_BMT

    shared = dict(
      batch_size=batch,
      max_length=ROOM,
      max_lengths_B=limits_B,
      penalty=lambda length: length_penalty(length, 0.6),
    )
    if is_cached:
      function = step
      start = cache
      reorder = lambda cache, parents_BM: cache.reorder(parents_BM)
    else:
      function = whole
      start = jnp.zeros((batch, beam_size, ROOM + 1), jnp.int32)
      reorder = gather_beams
    if beam_size == 1:
      return greedy_search(function, start, **shared)
    return beam_search(function, start, beam_size=beam_size, reorder=reorder, **shared)

  return jax.jit(search)


def assert_close(result, expected):
  np.testing.assert_array_equal(result.tokens_BMT, expected.tokens_BMT)
  np.testing.assert_array_equal(result.is_finished_BM, expected.is_finished_BM)
  np.testing.assert_allclose(result.scores_BM, expected.scores_BM, rtol=1e-4)


@pytest.mark.parametrize("beam_size", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_cache_batch_and_padding_change_nothing(model_and_params, beam_size):
  cached = make(*model_and_params, beam_size, True)
  result = cached(SOURCE, LIMITS)
  assert_close(make(*model_and_params, beam_size, False)(SOURCE, LIMITS), result)
  for row, source in enumerate(SOURCE):
    only = slice(row, row + 1)
    expected = SearchResult(*(array[only] for array in result))
    assert_close(cached(source[None], LIMITS[only]), expected)
  assert_close(cached(np.pad(SOURCE, ((0, 0), (0, 4))), LIMITS), result)
  assert (np.asarray(result.lengths_BM) <= LIMITS[:, None]).all()
  outputs = np.asarray(result.tokens_BMT)[:, 0].tolist()
  assert len(set(map(tuple, outputs))) > 1, "all outputs are alike"
