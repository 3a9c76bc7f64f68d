"""A constrained search finds only well-formed trees over the given words, whatever the model."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.data.linearization import symbol_kinds, to_tree
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.constrained import BracketRules, constrain, constrained_cache
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.search_state import Steps, gather_beams

SYMBOLS = dict(
  vinyals=["(S", "(NP", "(VP", ")S", ")NP", ")VP", "XX", "(X", "word"],
  t2t=["S", "/S", "NP", "/NP", "NN", "VB", ".", "/VP"],
)
WORDS = np.array([1, 2, 3, 5, 9, 12, 4, 0], np.int32)
LIMITS = np.array([4, 5, 30, 12, 30, 17, 7, 0], np.int32)
ROOM = 30


def vocabulary_of(style):
  return ["<pad>", "</s>", "<unk>", *SYMBOLS[style]]


@functools.cache
def compiled_search(style, beam_size, is_constrained):
  """Returns a function (table, limits_B, words_B) -> SearchResult.

  The table is the model: logits by position and last token.
  """
  rules = BracketRules.of([None] * 3 + symbol_kinds(SYMBOLS[style], style))

  def run(table, limits_B, words_B):
    def tokens_to_logits(tokens_BM, position, cache):
      return table[position][tokens_BM], cache

    steps = Steps(tokens_to_logits, gather_beams)
    cache = jnp.zeros((len(WORDS), beam_size))
    if is_constrained:
      steps = constrain(steps, rules)
      cache = constrained_cache(cache, beam_size, ROOM, limits_B, words_B)
    shared = dict(
      batch_size=len(WORDS),
      max_length=ROOM,
      max_lengths_B=limits_B,
      penalty=lambda length: jnp.ones_like(length, jnp.float32),
    )
    if beam_size == 1:
      return greedy_search(steps.tokens_to_logits, cache, **shared)
    return beam_search(
      steps.tokens_to_logits, cache, beam_size=beam_size, reorder=steps.reorder, **shared
    )

  return jax.jit(run)


def search(style, beam_size, seed, is_constrained=True):
  """Returns the symbols of each hypothesis, the SearchResult, and the random table."""
  vocabulary = vocabulary_of(style)
  rng = np.random.default_rng(seed)
  shape = (ROOM, len(vocabulary), len(vocabulary))
  table = rng.normal(scale=2.0, size=shape).astype(np.float32)
  result = jax.device_get(compiled_search(style, beam_size, is_constrained)(table, LIMITS, WORDS))
  found = [
    [symbols_of(tokens_T, vocabulary) for tokens_T in tokens_MT] for tokens_MT in result.tokens_BMT
  ]
  return found, result, table


def symbols_of(tokens_T, vocabulary):
  """Returns the symbols of an output, without EOS and padding."""
  return [vocabulary[token] for token in tokens_T if token not in (PAD_ID, EOS_ID)]


@pytest.mark.parametrize("style", ["vinyals", pytest.param("t2t", marks=pytest.mark.slow)])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_every_hypothesis_is_a_tree(style, beam_size):
  free = 0
  for seed in range(6):
    found, result, _ = search(style, beam_size, seed)
    for number, hypotheses in enumerate(found[:-1]):
      words = [str(i) for i in range(WORDS[number])]
      finished = list(itertools.compress(hypotheses, result.is_finished_BM[number]))
      assert finished, (seed, number)
      for symbols in finished:
        tree, is_repaired = to_tree(symbols, words, style)
        assert not is_repaired
        assert tree.constituents[1][1:] == (0, len(words))
        assert len(symbols) < LIMITS[number]
        assert "(X" not in symbols
    assert not found[-1][0]
    found, _, _ = search(style, beam_size, seed, is_constrained=False)
    for hypotheses, num_words in zip(found[:-1], WORDS[:-1], strict=True):
      _, is_repaired = to_tree(hypotheses[0], ["x"] * num_words, style)
      free += is_repaired
  assert free > 30  # of 42: without the rules hardly any is a tree


def test_a_hypothesis_keeps_the_models_probability():
  """The probability of forbidden tokens is not shared out among the rest."""
  found, result, table = search("vinyals", 4, seed=0)
  vocabulary = vocabulary_of("vinyals")
  log_probs = np.asarray(jax.nn.log_softmax(table))
  for number, hypotheses in enumerate(found[:-1]):
    for symbols, of_search in zip(hypotheses, result.log_probs_BM[number], strict=True):
      if of_search > -np.inf:
        tokens = [0, *map(vocabulary.index, symbols), EOS_ID]
        pairs = enumerate(itertools.pairwise(tokens))
        total = sum(log_probs[place, before, after] for place, (before, after) in pairs)
        np.testing.assert_allclose(of_search, total, rtol=1e-4)


def test_too_many_words_for_the_limit():
  """No tree fits: the output has only words, and repair does the rest."""
  rules = BracketRules.of([None] * 3 + symbol_kinds(SYMBOLS["vinyals"], "vinyals"))

  def tokens_to_logits(tokens_BM, position, cache):
    return jnp.zeros((*tokens_BM.shape, len(rules.kinds_C))), cache

  limits = np.array([5], np.int32)
  words = np.array([50], np.int32)
  steps = constrain(Steps(tokens_to_logits, lambda cache, _: cache), rules)
  cache = constrained_cache((), 1, 5, limits, words)
  result = greedy_search(
    steps.tokens_to_logits,
    cache,
    batch_size=1,
    max_length=5,
    max_lengths_B=limits,
    penalty=lambda length: 1.0,
  )
  assert result.tokens_BMT[0, 0].tolist() == [3 + SYMBOLS["vinyals"].index("XX")] * 5
