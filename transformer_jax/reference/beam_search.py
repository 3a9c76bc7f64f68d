"""Beam search (Section 6.1) over a Python function, and the exhaustive search that it approximates."""

import numpy as np


def penalty(length, length_penalty):
  """((5 + length) / 6)^alpha; `length` counts generated tokens, EOS included (Section 6.1, after Wu et al. 2016)."""
  return ((5 + length) / 6) ** length_penalty


def beam_search(log_probabilities, beam_size, length_penalty, max_length, eos_id):
  """Returns up to `beam_size` pairs (tokens, score), best first; finished hypotheses before unfinished ones.

  Each step expands the alive hypotheses to the 2 k most probable continuations: of those, hypotheses that end in EOS
  compete by score with the k finished ones, and the k most probable others stay alive. It runs to `max_length`
  without stopping early, which cannot change the best hypothesis.

  Args:
    log_probabilities: function from a tuple of tokens so far to the next token's log-probabilities, [C].
    beam_size: k.
    length_penalty: alpha; score = log-probability / penalty.
    max_length: most tokens generated, EOS included.
    eos_id: token that ends a hypothesis.
  """
  alive, finished = [((), 0.0)], []
  for length in range(1, max_length + 1):
    continuations = []
    for tokens, log_probability in alive:
      for token, token_log_probability in enumerate(log_probabilities(tokens)):
        if token_log_probability > -np.inf:
          continuations.append((tokens + (token,), log_probability + float(token_log_probability)))
    continuations = _best(continuations, 2 * beam_size)
    ended = [
      (tokens, lp / penalty(length, length_penalty))
      for tokens, lp in continuations
      if tokens[-1] == eos_id
    ]
    finished = _best(finished + ended, beam_size)
    alive = [item for item in continuations if item[0][-1] != eos_id][:beam_size]
  unfinished = [(tokens, lp / penalty(max_length, length_penalty)) for tokens, lp in alive]
  return (finished + unfinished)[:beam_size]


def exhaustive_search(log_probabilities, length_penalty, max_length, eos_id):
  """Every finished hypothesis of up to `max_length` tokens as (tokens, score), best first; C^max_length of them."""
  finished, unfinished = [], [((), 0.0)]
  for length in range(1, max_length + 1):
    continuations = [
      (tokens + (token,), lp + float(token_lp))
      for tokens, lp in unfinished
      for token, token_lp in enumerate(log_probabilities(tokens))
      if token_lp > -np.inf
    ]
    finished += [
      (tokens, lp / penalty(length, length_penalty))
      for tokens, lp in continuations
      if tokens[-1] == eos_id
    ]
    unfinished = [item for item in continuations if item[0][-1] != eos_id]
  return _best(finished, len(finished))


def _best(hypotheses, count):
  """The `count` highest, in falling order; equals keep their order."""
  return sorted(hypotheses, key=lambda item: -item[1])[:count]
