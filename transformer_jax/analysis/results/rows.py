"""The rows of a leaderboard: the JSONs of a folder, seeds of one experiment together."""

import dataclasses
import json
import pathlib
import shlex
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from transformer_jax.analysis.ablation.outcome import MAIN_SCORES
from transformer_jax.analysis.results.record import experiment_of
from transformer_jax.errors import ConfigError, DataError

_FILES = "*-seed*.json"
_NEEDED = {"flag_file": str, "settings_sha256": str, "seed": int, "commands": list}
_NEEDED_INSIDE = dict(
  training=("updates", "target_tokens", "wall_seconds", "processor_seconds", "starts"),
  evaluation=("set", "set_sha256", "sentences", "steps", "main_score", "beam_size", "constrained"),
)
# What an evaluation says of its search.
_SEARCH = (
  "beam_size",
  "length_penalty",
  "length_penalty_form",
  "early_stopping",
  "constrained",
  "max_extra_length",
  "max_source_length",
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
    if run["settings_sha256"] != _settings_now(path, run["flag_file"], settings_of):
      raise DataError(
        path, f"{run['flag_file']} has other settings by now", "remove it, or score a new run"
      )
    evaluation = run["evaluation"]
    of_the_set = evaluation["set"], evaluation["set_sha256"]
    key = (experiment_of(run), run["flag_file"], *of_the_set, *_way_of_scoring(run))
    groups.setdefault(key, []).append(run)
  return [Row(key[0], _by_seed(groups[key], folder)) for key in sorted(groups)]


def _settings_now(path: pathlib.Path, flag_file: str, settings_of: Callable[[str], str]) -> str:
  """Returns the hash of what the flag file of a JSON says now."""
  try:
    return settings_of(flag_file)
  except ConfigError as error:
    raise ConfigError(path, str(error), "restore the flag file, or remove this JSON") from None


def _way_of_scoring(run: Run) -> tuple[str, ...]:
  """Returns the settings of the search, the number of checkpoints, and which was asked for.

  Not the text of the command: it may give a setting that is the default.
  """
  evaluation = run["evaluation"]
  asked = (flag.partition("=") for flag in shlex.split(run["commands"][1]))
  checkpoint = [value for name, _, value in asked if name in ("--checkpoint", "--step")]
  settings = (str(evaluation.get(name)) for name in _SEARCH)
  return (*settings, f"{len(evaluation['steps']):03}", *(set(checkpoint) - {"last"}))


def _by_seed(runs: Sequence[Run], folder: pathlib.Path) -> tuple[Run, ...]:
  """Returns the runs of a row by seed; each seed counts once."""
  seeds = [run["seed"] for run in runs]
  if len({*seeds}) < len(seeds):
    raise DataError(folder, f"has two results of {runs[0]['flag_file']} with one seed", "keep one")
  return tuple(sorted(runs, key=lambda run: run["seed"]))


def _check_types(content: Run) -> None:
  """Raises a TypeError if a part that the tables compute with is of another type."""
  commands = content["commands"]
  if len(commands) != 2 or not all(isinstance(each, str) for each in commands):
    raise TypeError("its commands are not two texts")
  training, evaluation = content["training"], content["evaluation"]
  for name in ("updates", "target_tokens"):
    if not isinstance(training[name], int):
      raise TypeError(f"its {name} is not a whole number")
  if not isinstance(training["starts"], list) or not isinstance(evaluation["steps"], list):
    raise TypeError("its starts or steps are not a list")
  if evaluation["main_score"] not in MAIN_SCORES:
    raise TypeError(f"its main_score {evaluation['main_score']!r} is not known")


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
    _check_types(content)
    return {**content, "file": path.name}
  except OSError as error:
    raise DataError(path, f"cannot be read: {error.strerror}") from None
  except KeyError as error:
    raise DataError(path, f"is not the JSON of a scored run: it has no {error}") from None
  except (ValueError, TypeError, RecursionError) as error:
    raise DataError(path, f"is not the JSON of a scored run: {error}") from None
