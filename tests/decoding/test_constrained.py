"""A constrained search says nothing but well-formed trees over as many words as asked, however senseless the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import EOS_ID
from transformer_jax.data.linearization import symbol_kinds, to_tree
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.constrained import BracketRules, constrain
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.search_state import gather_beams

SYMBOLS = dict(
  vinyals=["(S", "(NP", "(VP", ")S", ")NP", ")VP", "XX", "(X", "word"],
  t2t=["S", "/S", "NP", "/NP", "NN", "VB", ".", "/VP"],
)
WORDS = np.array([1, 2, 3, 5, 9, 12, 4, 0], np.int32)
LIMITS = np.array([4, 5, 30, 12, 30, 17, 7, 0], np.int32)
ROOM = 30


def search(style, beam_size, seed, is_constrained=True):
  """(symbols of each hypothesis, SearchResult) of a model whose logits depend on the position and the last token."""
  vocabulary = ["<pad>", "</s>", "<unk>", *SYMBOLS[style]]
  rules = BracketRules.of([None] * 3 + symbol_kinds(SYMBOLS[style], style))
  table = jnp.asarray(
    np.random.default_rng(seed).normal(scale=2.0, size=(ROOM, len(vocabulary), len(vocabulary))),
    jnp.float32,
  )

  def tokens_to_logits(tokens_BM, position, cache):
    return table[position][tokens_BM], cache

  def run(limits_B, words_B):
    function, cache, reorder = tokens_to_logits, jnp.zeros((len(WORDS), beam_size)), gather_beams
    if is_constrained:
      function, cache, reorder = constrain(
        function, cache, reorder, rules, beam_size, ROOM, limits_B, words_B
      )
    shared = dict(
      batch_size=len(WORDS),
      max_length=ROOM,
      max_lengths_B=limits_B,
      penalty=lambda length: jnp.ones_like(length, jnp.float32),
    )
    if beam_size == 1:
      return greedy_search(function, cache, **shared)
    return beam_search(function, cache, beam_size=beam_size, reorder=reorder, **shared)

  result = jax.device_get(jax.jit(run)(LIMITS, WORDS))
  found = [
    [
      [vocabulary[token] for token in row[:length] if token != EOS_ID]
      for row, length in zip(*pair, strict=True)
    ]
    for pair in zip(result.tokens_BMT, result.lengths_BM, strict=True)
  ]
  return found, result, table


@pytest.mark.parametrize("style", ["vinyals", pytest.param("t2t", marks=pytest.mark.slow)])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_every_hypothesis_is_a_tree(style, beam_size):
  free = 0
  for seed in range(6):
    found, result, _ = search(style, beam_size, seed)
    for number, hypotheses in enumerate(found[:-1]):
      words = [str(i) for i in range(WORDS[number])]
      finished = [
        symbols
        for symbols, is_finished in zip(hypotheses, result.is_finished_BM[number], strict=True)
        if is_finished
      ]
      assert finished, (seed, number)
      for symbols in finished:
        tree, is_repaired = to_tree(symbols, words, style)
        assert (
          not is_repaired
          and tree.constituents[1][1:] == (0, len(words))
          and len(symbols) < LIMITS[number]
          and "(X" not in symbols
        )
    assert not found[-1][0]
    found, _, _ = search(style, beam_size, seed, is_constrained=False)
    free += sum(
      to_tree(hypotheses[0], ["x"] * words, style)[1]
      for hypotheses, words in zip(found[:-1], WORDS, strict=False)
    )
  assert free > 30  # of 42: without the rules hardly any is


def test_a_hypothesis_keeps_the_models_probability():
  """What is forbidden is not shared out among the rest."""
  found, result, table = search("vinyals", 4, seed=0)
  vocabulary = ["<pad>", "</s>", "<unk>", *SYMBOLS["vinyals"]]
  log_probs = jax.nn.log_softmax(table)
  for number, hypotheses in enumerate(found[:-1]):
    for symbols, of_search in zip(hypotheses, result.log_probs_BM[number], strict=True):
      if of_search > -np.inf:
        tokens = [0, *map(vocabulary.index, symbols), EOS_ID]
        total = sum(
          log_probs[place, before, after]
          for place, (before, after) in enumerate(zip(tokens, tokens[1:]))
        )
        np.testing.assert_allclose(of_search, total, rtol=1e-4)


def test_too_many_words_for_the_limit():
  """Nothing fits: words alone are said, and repair does the rest."""
  rules = BracketRules.of([None] * 3 + symbol_kinds(SYMBOLS["vinyals"], "vinyals"))

  def tokens_to_logits(tokens_BM, position, cache):
    return jnp.zeros((*tokens_BM.shape, len(rules.kinds_C))), cache

  limits, words = np.array([5], np.int32), np.array([50], np.int32)
  function, cache, _ = constrain(
    tokens_to_logits, (), lambda cache, _: cache, rules, 1, 5, limits, words
  )
  result = greedy_search(
    function, cache, batch_size=1, max_length=5, max_lengths_B=limits, penalty=lambda length: 1.0
  )
  assert result.tokens_BMT[0, 0].tolist() == [3 + SYMBOLS["vinyals"].index("XX")] * 5
