"""A row of an ablation, and the outcome of one of its runs."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from transformer_jax.config import Config
from transformer_jax.metrics.bleu import bleu_of_statistics
from transformer_jax.metrics.labeled_f1 import f1_of_statistics

MAIN_SCORES = {"bleu": "BLEU", "f1": "F1", "exact_match": "exact match"}  # names in tables


@dataclasses.dataclass(frozen=True)
class TableRow:
  """A row: the stem of its flag file, and the settings in the file."""

  name: str
  config: Config

  def differences(self, base: "TableRow") -> dict[str, Any]:
    """Returns the settings that differ from the base row's: name -> value."""
    theirs = base.config.to_flat()
    ours = self.config.to_flat()
    return {name: value for name, value in ours.items() if value != theirs[name]}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A finished run. Its figures per sentence let runs be compared on the same sentences."""

  # Row, seed, split, perplexity, score (name of the main one), its value, and more.
  summary: dict[str, Any]
  statistics_SK: Int[np.ndarray, "S K"]  # the task's `statistics`; their sums give the main score
  log_probs_S: Float[np.ndarray, " S"]  # nats
  tokens_S: Int[np.ndarray, " S"]  # EOS included

  @property
  def main_score(self) -> str:
    """Name of the score that the statistics give; BLEU in old results, which do not name it."""
    return self.summary.get("score", "bleu")

  def resampled_scores(
    self, name: str, counts_S: Float[np.ndarray, "*R S"]
  ) -> Float[np.ndarray, "*R"]:
    """Returns a score of resampled sentences.

    Args:
      name: "perplexity" or the main score.
      counts_S: how often each sentence is counted, for each of R resamples.
    """
    if name == "perplexity":
      return np.exp(-(counts_S @ self.log_probs_S) / (counts_S @ self.tokens_S))
    sums = counts_S @ self.statistics_SK
    if self.main_score == "bleu":
      return bleu_of_statistics(sums, self.summary["bleu_name"] == "sacrebleu")
    if self.main_score == "f1":
      return f1_of_statistics(sums)
    return sums[..., 0] / sums[..., 1]

  def score_from_sentences(self, name: str) -> float:
    """Returns "perplexity" or the main score, recomputed with each sentence counted once."""
    return float(self.resampled_scores(name, np.ones(len(self.tokens_S))))
