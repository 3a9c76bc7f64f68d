"""Scores of steps: which step is the best, and which ones to keep."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from transformer_jax.checkpoints import checksums
from transformer_jax.checkpoints.layout import META, REGULAR, SCORE
from transformer_jax.strict_json import json_text


@dataclasses.dataclass(frozen=True)
class StepInfo:
  """The properties of a step that decide whether it is kept.

  Attributes:
    score: the higher the better; None: it has none.
    kind: what it is a score of, as JSON text; only scores of the same kind are compared.
    is_temporary: it is deleted when a later step is saved; `keep_last` does not count it.
  """

  score: float | None = None
  kind: str | None = None
  is_temporary: bool = False


def read_info(path: pathlib.Path) -> StepInfo:
  """Returns the StepInfo of a step's folder; a damaged step has no score, and is not temporary."""
  try:
    info = json.loads((path / META).read_bytes())
    score = info["score"]
    kind = None
    if checksums.is_listed(path, SCORE):
      added = json.loads((path / SCORE).read_bytes())
      score = added["score"]
      kind = added["of"]
    return StepInfo(
      score=None if score is None else float(score),
      kind=json_text(kind, sort_keys=True),
      is_temporary=bool(info["temporary"]) and not checksums.is_listed(path, REGULAR),
    )
  except (OSError, ValueError, KeyError, TypeError):
    return StepInfo()


def latest_scores(infos: Mapping[int, StepInfo]) -> dict[int, float]:
  """Returns step -> score, for the scores that are of the same kind as the latest one."""
  return next(reversed(_scores_by_kind(infos).values()), {})


def best_first(scores: Mapping[int, float]) -> list[int]:
  """Returns the steps by score, the highest first, the earliest of equals first."""
  return sorted(scores, key=lambda step: (-scores[step], step))


def steps_to_keep(
  infos: Mapping[int, StepInfo], latest: int, keep_last: int, keep_best: int
) -> set[int]:
  """Returns the steps to keep: `latest`, the last regular ones, and the best ones of each kind."""
  regular = sorted(step for step, info in infos.items() if not info.is_temporary)
  keep = {latest, *regular[-keep_last:]}
  for scores in _scores_by_kind(infos).values():
    keep.update(best_first(scores)[:keep_best])
  return keep


def _scores_by_kind(infos: Mapping[int, StepInfo]) -> dict[str | None, dict[int, float]]:
  """Returns kind -> {step: score}, without temporary steps."""
  kinds: dict[str | None, dict[int, float]] = {}
  for step, info in sorted(infos.items()):
    if info.score is not None and not info.is_temporary:
      scores = kinds.pop(info.kind, {})  # so that the kind of the latest scored step comes last
      scores[step] = info.score
      kinds[info.kind] = scores
  return kinds
