"""Counts evaluations without a better score (`--patience`); the count is in metrics.jsonl."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from transformer_jax.config import Config
from transformer_jax.strict_json import json_text

# What a line about the validation split says about the count, if `patience` is not 0.
_KIND = "score_kind"
_BEST = "best_score"
_BEST_STEP = "best_step"
_COUNT = "evaluations_without_improvement"


@dataclasses.dataclass
class Patience:
  """How many evaluations in a row brought no better score.

  Attributes:
    limit: the most of them, after which training ends; 0: any number.
    kind: what the scores are scores of, as a short hash; only those of one kind are compared.
  """

  limit: int
  kind: str = ""
  best_score: float = -math.inf
  best_step: int = 0
  count: int = 0

  @classmethod
  def resumed(
    cls, config: Config, kind: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]
  ) -> "Patience":
    """Returns the count after the evaluations whose lines of metrics are given.

    It starts anew where scores of another kind begin, and after evaluations without `patience`.

    Args:
      config: the Config.
      kind: what a score is a score of, for JSON.
      lines: all lines of metrics.
    """
    text = json_text(kind, sort_keys=True)
    short_hash = hashlib.sha256(text.encode()).hexdigest()[:8]
    fresh = cls(config.train.patience, short_hash)
    evaluations = [line for line in lines if line.get("split") == "valid"]
    if not evaluations or evaluations[-1].get(_KIND) != fresh.kind:
      return fresh
    last = evaluations[-1]
    best = -math.inf if last[_BEST] is None else float(last[_BEST])
    return dataclasses.replace(
      fresh, best_score=best, best_step=last[_BEST_STEP], count=last[_COUNT]
    )

  def add(self, step: int, score: float) -> dict[str, Any]:
    """Counts an evaluation; returns what its line of metrics says, nothing without a limit."""
    if not self.limit:
      return {}
    if score > self.best_score:
      self.best_score, self.best_step, self.count = score, step, 0
    else:
      self.count += 1
    return {
      _KIND: self.kind,
      _BEST: self.best_score,
      _BEST_STEP: self.best_step,
      _COUNT: self.count,
    }

  @property
  def is_at_end(self) -> bool:
    """Whether training ends."""
    return 0 < self.limit <= self.count


def ended_early(config: Config, lines: Sequence[Mapping[str, Any]]) -> bool:
  """Returns whether `--patience` ended a run, by its lines of metrics."""
  evaluations = [line for line in lines if line.get("split") == "valid"]
  return bool(evaluations) and 0 < config.train.patience <= evaluations[-1].get(_COUNT, 0)
