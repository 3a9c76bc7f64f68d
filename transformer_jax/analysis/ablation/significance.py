"""Tests of whether two rows of a table differ: over seeds, and over resampled sentences."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from transformer_jax.analysis.ablation.outcome import MAIN_SCORES, Outcome

LEVEL = 0.05
_RESAMPLES = 2000


def seed_p(values: Sequence[float], others: Sequence[float]) -> float | None:
  """Returns the two-sided p-value of Welch's t test that two means differ.

  It is None with a single seed, or if a score is not finite.
  """
  if len(values) < 2 or len(others) < 2 or not np.isfinite([*values, *others]).all():
    return None
  difference = abs(np.mean(values) - np.mean(others))
  groups = (values, others)
  errors = [np.var(group, ddof=1) / len(group) for group in groups]  # squared
  if not sum(errors):
    return 0.0 if difference else 1.0
  each = [error**2 / (len(group) - 1) for error, group in zip(errors, groups, strict=True)]
  freedom = sum(errors) ** 2 / sum(each)
  return float(2 * stdtr(freedom, -difference / np.sqrt(sum(errors))))


def is_beyond_seed_noise(values: Sequence[float], others: Sequence[float]) -> bool | None:
  """Returns whether two means differ at 5% by Welch's t test; None with a single seed."""
  p = seed_p(values, others)
  return None if p is None else p < LEVEL


def has_same_sign(ours: float, papers: float) -> bool | None:
  """Returns whether two differences have the same sign; None if the paper's is 0."""
  if abs(papers) < 1e-9:
    return None
  return bool(np.sign(ours) == np.sign(papers))


def why_no_bootstrap(ours: Sequence[Outcome], base: Sequence[Outcome], score: str) -> str:
  """Returns why the sentences of two rows cannot be compared in a score, or ""."""
  outcomes = [*ours, *base]
  for outcome in outcomes:
    if why := _why_sentences_do_not_count(outcome, score):
      return why
  counts = sorted({len(outcome.tokens_S) for outcome in outcomes})
  if len(counts) > 1:
    return f"scored on different numbers of sentences: {', '.join(map(str, counts))}"
  texts = set()
  for outcome in outcomes:
    fingerprints = outcome.summary.get("text") or {}
    texts.add(fingerprints.get(outcome.summary.get("split")))
  return "scored on different texts" if len(texts - {None}) > 1 else ""


def _why_sentences_do_not_count(outcome: Outcome, score: str) -> str:
  """Returns why the kept sentences of a run cannot stand for its score, or ""."""
  if score not in ("perplexity", outcome.main_score):
    return f"the kept sentences have no {MAIN_SCORES[score]}"
  given = outcome.score_from_sentences(score)
  reported = outcome.summary[score]
  if np.isclose(given, reported, rtol=1e-3, atol=1e-3):
    return ""
  return (
    f"the sentences of seed {outcome.summary['seed']} give {given:.2f}, and {reported:.2f} was "
    "reported: remove its JSON, and run it again"
  )


def bootstrap_p(
  ours: Sequence[Outcome], base: Sequence[Outcome], score: str, resamples: int = _RESAMPLES
) -> float:
  """Returns the two-sided p-value that a row's mean score differs from base's (Koehn 2004).

  The bootstrap is paired: each resample has the same sentences for both rows.

  Args:
    ours, base: Outcomes of the seeds, all on the same sentences.
    score: "perplexity", or the main score.
    resamples: how many sets of sentences are drawn.
  """
  num_sentences = len(ours[0].tokens_S)
  rng = np.random.default_rng(0)
  chances = np.full(num_sentences, 1 / num_sentences)
  counts_RS = rng.multinomial(num_sentences, chances, resamples).astype(np.float64)
  differences_R = _mean_scores(ours, score, counts_RS) - _mean_scores(base, score, counts_RS)
  below = np.mean(differences_R <= 0)
  above = np.mean(differences_R >= 0)
  return float(np.clip(2 * min(below, above), 1 / resamples, 1.0))


def _mean_scores(
  outcomes: Sequence[Outcome], score: str, counts_RS: Float[np.ndarray, "R S"]
) -> Float[np.ndarray, " R"]:
  """Returns the mean over seeds of each resample's score."""
  return np.mean([outcome.resampled_scores(score, counts_RS) for outcome in outcomes], axis=0)
