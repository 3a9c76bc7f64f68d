"""Tests of the reference's loss, schedule, Adam and beam search, by hand-worked numbers."""

import math

import numpy as np
import pytest

from transformer_jax.reference import beam_search, training

EOS = 1


def test_smoothed_loss_by_hand():
  logits_TC = np.log([[0.2, 0.5, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]])
  loss, count = training.smoothed_loss(logits_TC, [1, 0], 0.3)  # the second is PAD
  assert count == 1
  expected = -(0.7 * math.log(0.5) + 0.1 * math.log(0.2) * 2 + 0.1 * math.log(0.1))
  assert loss == pytest.approx(expected)


def test_the_smoothed_distribution_itself_reaches_the_entropy():
  distribution_C = training.smoothed_distribution(3, 9, 0.1)
  assert distribution_C.sum() == pytest.approx(1)
  loss, _ = training.smoothed_loss(np.log(distribution_C)[None], [3], 0.1)
  assert loss == pytest.approx(training.smoothing_entropy(9, 0.1))
  assert training.smoothed_loss(np.log(distribution_C)[None] * 1.1, [3], 0.1)[0] > loss


def test_learning_rate_rises_linearly_peaks_and_falls_as_a_root():
  rates = [training.learning_rate(step, 512, 4000) for step in (1, 2, 4000, 16000)]
  assert rates[1] == pytest.approx(2 * rates[0])
  assert rates[2] == pytest.approx(6.99e-4, rel=1e-3)
  assert rates[3] == pytest.approx(rates[2] / 2)


def test_adam_first_steps():
  # With bias correction the first update moves every element by the learning rate, whatever its
  # gradient.
  moved = training.adam(np.array([1.0, -2.0]), lambda p, step: np.array([1e-3, -50.0]), [0.1])
  np.testing.assert_allclose(moved, [0.9, -1.9], rtol=1e-5)
  # It walks down a parabola.
  assert abs(training.adam(np.array([3.0]), lambda p, step: 2 * p, [0.1] * 200)[0]) < 0.1


def random_model(seed, vocab_size=4):
  """Returns log-probabilities that depend on the whole prefix; PAD is impossible."""

  def log_probabilities(prefix):
    logits_C = np.random.default_rng((seed, *prefix)).normal(size=vocab_size) * 2
    logits_C[0] = -np.inf
    return logits_C - np.log(np.sum(np.exp(logits_C)))

  return log_probabilities


@pytest.mark.parametrize("seed", range(10))
def test_a_wide_beam_is_exhaustive(seed):
  model = random_model(seed)
  everything = beam_search.exhaustive_search(model, 0.6, 5, EOS)
  beam = beam_search.beam_search(model, 100, 0.6, 5, EOS)
  assert beam[:5] == everything[:5]
  assert len(everything) == sum(2**n for n in range(5))


def test_beam_of_one_is_greedy_and_a_wider_one_no_worse():
  for seed in range(10):
    model = random_model(seed)
    ((tokens, score),) = beam_search.beam_search(model, 1, 0.0, 6, EOS)
    assert score <= beam_search.beam_search(model, 50, 0.0, 6, EOS)[0][1] + 1e-12
    prefix = ()
    while len(prefix) < len(tokens) and EOS not in prefix:
      ranked = np.argsort(-model(prefix))
      # A finished hypothesis may be the second of the 2k continuations while the first lives on.
      assert tokens[len(prefix)] in ranked[:2]
      prefix += (tokens[len(prefix)],)


def test_nothing_finished_returns_the_alive():
  never_ends = lambda prefix: np.array([-np.inf, -np.inf, math.log(0.75), math.log(0.25)])
  best, second = beam_search.beam_search(never_ends, 2, 1.0, 3, EOS)
  assert best == ((2, 2, 2), pytest.approx(3 * math.log(0.75) / (8 / 6)))
  assert second[0] in {(2, 2, 3), (2, 3, 2), (3, 2, 2)}


def test_length_penalty_figures():
  assert [round(beam_search.penalty(n, 0.6), 2) for n in (1, 10, 25, 50)] == [1.0, 1.73, 2.63, 3.78]
