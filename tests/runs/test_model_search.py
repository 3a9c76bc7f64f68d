"""With each form of search and of model, stages find what a search in one piece finds."""

import dataclasses

import jax
import numpy as np
import pytest

from transformer_jax import parallel
from transformer_jax.config import EOS_ID, Config
from transformer_jax.data.linearization import symbol_kinds
from transformer_jax.decoding import stages as stages_module
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.model_search import ModelSearch, in_stages
from transformer_jax.runs.search import make_search

SYMBOLS = ["(S", "(NP", "(VP", ")S", ")NP", ")VP", "XX", "(X", "word"]
VOCAB = 3 + len(SYMBOLS)
ROWS = 40  # of a device: more than a search keeps to its end
WIDTH = 8
CONFIG = Config().replace(
  num_layers=1,
  d_model=16,
  d_ff=24,
  num_heads=2,
  d_k=8,
  d_v=4,
  attention_kernel="xla",
  beam_size=3,
  max_extra_length=20,
)
LEARNED = CONFIG.replace(positions="learned", max_positions=25, max_length=25)
OF_WORDS = CONFIG.replace(
  task="parsing", data_source="grammar", embedding_sharing="target", positions="words"
)


def random_model(config, seed):
  """Returns a Transformer and parameters that make sharper distributions than the first ones do."""
  marks = bytes(token % 3 == 0 for token in range(VOCAB))  # for `positions="words"`
  model = Transformer(config.model, VOCAB, VOCAB, (marks, marks))
  example = np.ones((1, WIDTH), np.int32)
  params = jax.jit(model.init)(jax.random.key(seed), example, example)["params"]
  return model, jax.tree.map(lambda x: 2.0 * x if x.shape == (VOCAB, 16) else x, params)


def sentences():
  """Returns sources, the most tokens of their outputs, and words that a tree must cover."""
  rng = np.random.default_rng(5)
  rows = ROWS * parallel.num_devices()
  lengths = rng.integers(2, WIDTH + 1, rows)
  source_BS = rng.integers(2, VOCAB, (rows, WIDTH)).astype(np.int32)
  places = np.arange(WIDTH)
  source_BS = np.where(places < lengths[:, None] - 1, source_BS, 0)
  source_BS[np.arange(rows), lengths - 1] = EOS_ID
  limits_B = np.where(np.arange(rows) % 3, lengths, lengths + 20).astype(np.int32)
  return source_BS, limits_B, (lengths // 2).astype(np.int32)


@pytest.mark.parametrize(
  ("configs", "settings", "has_prefix", "rooms"),
  [
    pytest.param([CONFIG], dict(), False, (12, 28), marks=pytest.mark.slow),
    ([CONFIG], dict(beam_size=1), False, (12, 28)),
    pytest.param([OF_WORDS], dict(), False, (12, 28), marks=pytest.mark.slow),
    pytest.param([CONFIG], dict(early_stopping="first"), False, (12, 28), marks=pytest.mark.slow),
    pytest.param([CONFIG], dict(), True, (12, 28), marks=pytest.mark.slow),
    pytest.param(
      [CONFIG],
      dict(constrained=True, max_extra_length=60),
      False,
      (32, 68),
      marks=pytest.mark.slow,
    ),
    pytest.param([CONFIG, LEARNED], dict(beam_size=1), True, (12, 25), marks=pytest.mark.slow),
    pytest.param([CONFIG, LEARNED], dict(constrained=True), True, (25, 25), marks=pytest.mark.slow),
  ],
)
def test_stages_find_what_one_piece_finds(configs, settings, has_prefix, rooms, monkeypatch):
  decode = dataclasses.replace(CONFIG.decode, **settings)
  members = [random_model(config, seed) for seed, config in enumerate(configs)]
  models, params = zip(*members, strict=True)
  model = models if len(models) > 1 else models[0]
  params = params if len(models) > 1 else params[0]
  brackets = [None] * 3 + symbol_kinds(SYMBOLS, "vinyals") if decode.constrained else None
  source_BS, limits_B, words_B = sentences()
  prefix_BT = None
  if has_prefix:
    first = VOCAB - 1 if not decode.constrained else 3 + SYMBOLS.index("(NP")
    prefix_BT = np.full((len(source_BS), 2), [first, 0], np.int32)
    prefix_BT[::4] = 0  # these sentences have none
  search = ModelSearch(model, decode, brackets, num_best=2)
  stages = in_stages(search)
  assert search.rooms(WIDTH) == rooms
  job = source_BS, limits_B, words_B, prefix_BT
  replicated = parallel.replicate(params)
  rows = len(source_BS) // parallel.num_devices()
  monkeypatch.setattr(stages_module, "_MANY", 5 * rows)
  # Where most outputs need all the room, only the fifth goes in stages; the sixth in smaller ones.
  batches = [stages.search((replicated, None, None), job, rooms) for _ in range(6)]
  assert stages._regroup.cache_info().currsize, "it was a search in one piece"
  one_piece = jax.jit(make_search(model, decode, brackets=brackets, num_best=2))
  expected = one_piece(params, source_BS, limits_B, None, None, words_B, prefix_BT)
  for found in batches:
    np.testing.assert_array_equal(found.tokens_BMT, expected.tokens_BMT)
    np.testing.assert_array_equal(found.is_finished_BM, expected.is_finished_BM)
    np.testing.assert_allclose(found.scores_BM, expected.scores_BM, rtol=1e-4)
  if has_prefix:
    # Those that are long enough for a tree, too.
    found = batches[-1]
    starts_B = found.tokens_BMT[:, 0, 0] == first
    is_forced_B = (limits_B > 20) & (prefix_BT[:, 0] == first)
    assert starts_B[is_forced_B].all() and not starts_B[prefix_BT[:, 0] == 0].all()


@pytest.mark.slow
def test_another_length_penalty_needs_no_other_program():
  """It is an argument, as the service has it."""
  model, params = random_model(CONFIG, 1)
  search = ModelSearch(model, CONFIG.decode, num_best=1)
  stages = in_stages(search)
  replicated = parallel.replicate(params)
  outputs = []
  for penalty in (0.0, 3.0):
    alpha = parallel.replicate(np.float32(penalty))
    job = (*sentences(), None)
    found = stages.search((replicated, None, alpha), job, search.rooms(WIDTH))
    expected = found.log_probs_BM / ((5 + found.lengths_BM) / 6) ** penalty
    np.testing.assert_allclose(found.scores_BM, expected, rtol=1e-4)
    outputs.append(found.tokens_BMT)
  assert (outputs[0] != outputs[1]).any()
