"""The rows of a leaderboard: the JSONs of a folder, seeds of one experiment together."""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from transformer_jax.analysis.results.record import experiment_of
from transformer_jax.errors import DataError

_FILES = "*-seed*.json"
_NEEDED = {"flag_file": str, "settings_sha256": str, "seed": int, "commands": list}
_NEEDED_INSIDE = dict(
  training=("updates", "target_tokens", "wall_seconds", "processor_seconds", "starts"),
  evaluation=("set", "set_sha256", "sentences", "steps", "main_score", "beam_size", "constrained"),
)

Run = dict[str, Any]  # the JSON of a scored run, as `record.write` writes it, and its "file" name


@dataclasses.dataclass(frozen=True)
class Row:
  """Runs of one experiment with different seeds, scored alike on the same set."""

  experiment: str  # such as "translation/tatoeba"
  runs: tuple[Run, ...]  # by seed

  @property
  def evaluation(self) -> dict[str, Any]:
    """What the first run's evaluation says; settings and set are those of all."""
    return self.runs[0]["evaluation"]

  def mean_and_sd(self, value: Callable[[Run], float | None]) -> tuple[float | None, float | None]:
    """Returns mean and sample standard deviation of a figure over the runs.

    The mean is None if a run lacks the figure, the deviation also if there is one run.
    """
    values = [value(run) for run in self.runs]
    known = [each for each in values if each is not None]
    if len(known) < len(values):
      return None, None
    return statistics.mean(known), statistics.stdev(known) if len(known) > 1 else None


def read(folder: pathlib.Path, settings_of: Callable[[str], str]) -> list[Row]:
  """Returns the rows of the JSONs in a folder, by experiment, set and way of scoring.

  Args:
    folder: the JSONs that `evaluate --results` wrote.
    settings_of: a flag file's name -> the `settings_hash` of what it says now.

  Raises:
    DataError: a file is not such a JSON, or its flag file says something else today.
  """
  groups: dict[tuple[str, ...], list[Run]] = {}
  for path in sorted(folder.glob(_FILES)):
    run = _read(path)
    if run["settings_sha256"] != settings_of(run["flag_file"]):
      raise DataError(
        path, f"{run['flag_file']} has other settings by now", "remove it, or score a new run"
      )
    evaluation = run["evaluation"]
    key = (experiment_of(run), evaluation["set"], evaluation["set_sha256"], run["commands"][1])
    groups.setdefault(key, []).append(run)
  return [Row(key[0], _by_seed(groups[key], folder)) for key in sorted(groups)]


def _by_seed(runs: Sequence[Run], folder: pathlib.Path) -> tuple[Run, ...]:
  """Returns the runs of a row by seed; each seed counts once."""
  seeds = [run["seed"] for run in runs]
  if len({*seeds}) < len(seeds):
    raise DataError(folder, f"has two results of {runs[0]['flag_file']} with one seed", "keep one")
  return tuple(sorted(runs, key=lambda run: run["seed"]))


def _read(path: pathlib.Path) -> Run:
  try:
    content = json.loads(path.read_bytes())
    for name, kind in _NEEDED.items():
      if not isinstance(content[name], kind):
        raise TypeError(f"its {name} is not of type {kind.__name__}")
    for part, names in _NEEDED_INSIDE.items():
      for name in names:
        if name not in content[part]:
          raise KeyError(name)
    return {**content, "file": path.name}
  except OSError as error:
    raise DataError(path, f"cannot be read: {error.strerror}") from None
  except KeyError as error:
    raise DataError(path, f"is not the JSON of a scored run: it has no {error}") from None
  except (ValueError, TypeError, RecursionError) as error:
    raise DataError(path, f"is not the JSON of a scored run: {error}") from None
