"""Beam search (Section 6.1) with any next-token function, and exhaustive search to check it."""

from collections.abc import Callable

import numpy as np

Tokens = tuple[int, ...]
Hypothesis = tuple[Tokens, float]  # its log-probability or its score
LogProbabilities = Callable[[Tokens], np.ndarray]


def penalty(length: int, length_penalty: float) -> float:
  """Returns ((5 + length) / 6)^alpha (Section 6.1, after Wu et al. 2016).

  `length` counts generated tokens, EOS included.
  """
  return ((5 + length) / 6) ** length_penalty


def beam_search(
  log_probabilities: LogProbabilities,
  beam_size: int,
  length_penalty: float,
  max_length: int,
  eos_id: int,
) -> list[Hypothesis]:
  """Returns up to `beam_size` pairs (tokens, score), best first, finished ones before the others.

  Each step expands the alive hypotheses to the 2 k most probable continuations. Those that end in
  EOS compete by score with the k finished ones. The k most probable others stay alive. It runs to
  `max_length` without stopping early, which cannot change the best hypothesis.

  Args:
    log_probabilities: function from the tokens so far to the next token's log-probabilities, [C].
    beam_size: k.
    length_penalty: alpha; score = log-probability / penalty.
    max_length: most tokens generated, EOS included.
    eos_id: token that ends a hypothesis.
  """
  alive: list[Hypothesis] = [((), 0.0)]
  finished: list[Hypothesis] = []
  for length in range(1, max_length + 1):
    continuations = _best(_continuations(alive, log_probabilities), 2 * beam_size)
    ended, others = _split(continuations, eos_id)
    finished = _best(finished + _scored(ended, penalty(length, length_penalty)), beam_size)
    alive = others[:beam_size]
  unfinished = _scored(alive, penalty(max_length, length_penalty))
  return (finished + unfinished)[:beam_size]


def exhaustive_search(
  log_probabilities: LogProbabilities, length_penalty: float, max_length: int, eos_id: int
) -> list[Hypothesis]:
  """Returns every finished hypothesis of up to `max_length` tokens as (tokens, score), best first.

  There are up to C^max_length of them.
  """
  finished: list[Hypothesis] = []
  unfinished: list[Hypothesis] = [((), 0.0)]
  for length in range(1, max_length + 1):
    ended, unfinished = _split(_continuations(unfinished, log_probabilities), eos_id)
    finished += _scored(ended, penalty(length, length_penalty))
  return _best(finished, len(finished))


def _continuations(
  hypotheses: list[Hypothesis], log_probabilities: LogProbabilities
) -> list[Hypothesis]:
  """Returns the hypotheses with each possible next token."""
  continuations = []
  for tokens, log_probability in hypotheses:
    for token, token_log_probability in enumerate(log_probabilities(tokens)):
      if token_log_probability > -np.inf:
        both = log_probability + float(token_log_probability)
        continuations.append(((*tokens, token), both))
  return continuations


def _split(hypotheses: list[Hypothesis], eos_id: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
  """Returns (those that end in EOS, the others)."""
  ended = [hypothesis for hypothesis in hypotheses if hypothesis[0][-1] == eos_id]
  others = [hypothesis for hypothesis in hypotheses if hypothesis[0][-1] != eos_id]
  return ended, others


def _scored(hypotheses: list[Hypothesis], divisor: float) -> list[Hypothesis]:
  """Returns the hypotheses with their scores, log-probability / penalty."""
  return [(tokens, log_probability / divisor) for tokens, log_probability in hypotheses]


def _best(hypotheses: list[Hypothesis], count: int) -> list[Hypothesis]:
  """Returns the `count` highest, in falling order; equals keep their order."""
  return sorted(hypotheses, key=lambda item: -item[1])[:count]
