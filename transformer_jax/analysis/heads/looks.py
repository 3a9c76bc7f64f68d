"""Statistics of what a head attends to, and the role that follows from them.

Confidence and the roles are after Voita et al. 2019.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

POSITIONAL_SHARE = 0.9  # share of a head's maxima at one offset (Voita et al. 2019)
EOS_SHARE = 0.5  # share of its maxima on EOS
ALIGNMENT = 0.8  # correlation of query positions with the positions of their largest weights


class Looks:
  """Collects the rows of one head's attention over many sentences."""

  def __init__(self) -> None:
    self._maxima: list[np.ndarray] = []
    self._entropies: list[np.ndarray] = []
    self._on_eos: list[np.ndarray] = []
    self._offsets: list[np.ndarray] = []
    self._places: list[np.ndarray] = []  # relative positions (from, to), [2, T]

  def add(self, weights_TS: Float[np.ndarray, "T S"], eos: int | None) -> None:
    """Adds the rows of a sentence.

    Args:
      weights_TS: the head's weights, without padding.
      eos: index of EOS among the keys, None if it is not there.
    """
    num_queries, num_keys = weights_TS.shape
    if not num_queries:
      return
    best_T = weights_TS.argmax(axis=1)
    here_T = np.arange(num_queries)
    logs_TS = np.log(np.maximum(weights_TS, 1e-30))
    words_TS = weights_TS if eos is None else weights_TS[:, :eos]
    is_eos_T = np.zeros(num_queries, bool) if eos is None else best_T == eos
    relative_here_T = here_T / max(num_queries - 1, 1)
    relative_best_T = best_T / max(num_keys - 1, 1)
    self._entropies.append(-np.sum(weights_TS * logs_TS, axis=1))
    self._on_eos.append(is_eos_T)
    self._maxima.append(words_TS.max(axis=1, initial=0.0))
    self._offsets.append(best_T - here_T)
    self._places.append(np.stack([relative_here_T, relative_best_T]))

  def summary(self, is_cross: bool) -> dict[str, Any]:
    """Returns the statistics and the role.

    Args:
      is_cross: whether the head attends from the target to the source, where it can align words.

    Returns:
      "confidence" (mean of the largest weight, EOS left out), "entropy" (nats), "offset" (the most
      frequent distance from a query to its largest weight) and "offset_share", "eos_share" (of the
      queries with the largest weight on EOS), "alignment" (correlation of positions), "role".
    """
    offsets = np.concatenate(self._offsets)
    values, counts = np.unique(offsets, return_counts=True)
    result = dict(
      confidence=float(np.mean(np.concatenate(self._maxima))),
      entropy=float(np.mean(np.concatenate(self._entropies))),
      offset=int(values[counts.argmax()]),
      offset_share=float(counts.max() / len(offsets)),
      eos_share=float(np.mean(np.concatenate(self._on_eos))),
      alignment=self._alignment(),
    )
    return dict(result, role=_role(result, is_cross))

  def _alignment(self) -> float:
    """Returns the correlation of positions; 0 if all queries or all maxima are at one place."""
    here, there = np.concatenate(self._places, axis=1)
    if np.std(there) > 0 and np.std(here) > 0:
      return float(np.corrcoef(here, there)[0, 1])
    return 0.0


def _role(looks: Mapping[str, Any], is_cross: bool) -> str:
  """Returns the name of the role whose threshold a head meets, "-" if it meets none."""
  if looks["offset_share"] >= POSITIONAL_SHARE:
    return f"position {looks['offset']:+d}"
  if looks["eos_share"] >= EOS_SHARE:
    return "end of sentence"
  if is_cross and looks["alignment"] >= ALIGNMENT:
    return "alignment"
  return "-"
