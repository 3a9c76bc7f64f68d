"""Results of an ablation's runs: one small JSON file per run, written, found and checked."""

import base64
import hashlib
import json
import math
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from transformer_jax.analysis.ablation.identity import UNKNOWN_TEXT, Text, why_another
from transformer_jax.analysis.ablation.outcome import MAIN_SCORES, Outcome, TableRow
from transformer_jax.errors import DataError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.strict_json import json_text

_NEEDED = (
  "seed",
  "sentences",
  "perplexity",
  "parameters",
  "update_hours",
  "hardware",
  "git_revision",
)
_NEEDED_OF_HARDWARE = ("device", "processor", "cores")

Folder = str | os.PathLike[str]


def result_path(results: Folder, row: TableRow, seed: int, split: str = "valid") -> pathlib.Path:
  """Returns the path of a run's JSON."""
  suffix = "" if split == "valid" else f"-{split}"
  return pathlib.Path(results) / f"{row.name}-seed{seed}{suffix}.json"


def load_outcome(
  results: Folder, row: TableRow, seed: int, text: Text = UNKNOWN_TEXT
) -> Outcome | None:
  """Returns the Outcome of a run; None if there is no result with its settings and text.

  Raises:
    DataError: a JSON is not the result of a run.
  """
  # Older versions named results of the test split like those of the validation split.
  paths = [result_path(results, row, seed, split) for split in (text.split, "valid")]
  for path in dict.fromkeys(paths):
    content = _read(path)
    if content is not None and not why_another(content, row, seed, text):
      return _outcome(path, content)
  return None


def why_not_taken(results: Folder, row: TableRow, seed: int, text: Text) -> str:
  """Returns why the JSON at a run's path is not its result; "" if it is, or if there is none."""
  path = result_path(results, row, seed, text.split)
  content = _read(path)
  if content is None:
    return ""
  why = why_another(content, row, seed, text)
  return f"{path.name} {why}" if why else ""


def save_outcome(
  results: Folder, row: TableRow, text: Text, outcome: Outcome
) -> pathlib.Path | None:
  """Writes a run's JSON. If another run's result is at its path, that one is renamed.

  Returns:
    The new name of that other result, or None.

  Raises:
    WorkdirError: the file cannot be written.
  """
  seed = outcome.summary["seed"]
  path = result_path(results, row, seed, text.split)
  moved = None
  with as_workdir_error(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if why_not_taken(results, row, seed, text):
      digest = hashlib.sha256(path.read_bytes()).hexdigest()
      moved = path.with_stem(f"{path.stem}-{digest[:8]}")
      path.replace(moved)
  content = dict(
    outcome.summary,
    text=text.fingerprints(row.config.data),
    statistics=_pack(outcome.statistics_SK, "<i4"),
    log_probs=_pack(outcome.log_probs_S, "<f4"),
    tokens=_pack(outcome.tokens_S, "<i4"),
  )
  atomic_write(path, json_text(content, indent=1) + "\n")
  return moved


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns the content of a run's JSON, None if there is no file."""
  try:
    content = json.loads(path.read_bytes())
    if not isinstance(content["settings_sha256"], str):
      raise TypeError("its settings_sha256 is not text")
    if not isinstance(content.get("text") or {}, dict):
      raise TypeError("its text is not an object")
    return content
  except (FileNotFoundError, NotADirectoryError):  # writing will say what is wrong with the folder
    return None
  except OSError as error:
    raise DataError(path, f"cannot be read: {error.strerror}") from None
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise _not_a_result(path, error) from None


def _outcome(path: pathlib.Path, content: dict[str, Any]) -> Outcome:
  """Returns the Outcome from the content of a JSON.

  Raises:
    DataError: the content is not the result of a run.
  """
  try:
    _check(content)
    summary = _without_nonfinite(content)
    count = summary["sentences"]
    statistics = "statistics" if "statistics" in summary else "bleu_statistics"
    statistics_SK = _unpack(summary.pop(statistics), "<i2").reshape(count, -1)
    log_probs_S = _unpack(summary.pop("log_probs"), "<f4")
    tokens_S = _unpack(summary.pop("tokens"), "<i2")
    if not len(log_probs_S) == len(tokens_S) == count:
      raise ValueError(f"has {len(tokens_S)} and {len(log_probs_S)} sentences, but says {count}")
    outcome = Outcome(
      summary,
      statistics_SK.astype(np.int64),
      log_probs_S.astype(np.float64),
      tokens_S.astype(np.int64),
    )
    outcome.score_from_sentences(outcome.main_score)  # raises if the statistics do not fit
    return outcome
  except (ValueError, LookupError, TypeError, AttributeError, zlib.error) as error:
    raise _not_a_result(path, error) from None


def _check(content: dict[str, Any]) -> None:
  """Raises an error if the content lacks what a table shows.

  A score may be null: then it was not finite.
  """
  main_score = content.get("score", "bleu")
  if main_score not in MAIN_SCORES:
    raise ValueError(f"its score {main_score!r} is not known")
  _check_names(content, (*_NEEDED, main_score))
  _check_names(content["hardware"], _NEEDED_OF_HARDWARE)
  scores = ("perplexity", main_score)
  for name in (*scores, "parameters", "update_hours"):
    is_null_score = content[name] is None and name in scores
    if type(content[name]) not in (int, float) and not is_null_score:
      raise TypeError(f"its {name} is not a number")
  if not math.isfinite(content["update_hours"]):
    raise ValueError("its update_hours are not finite")


def _check_names(content: dict[str, Any], names: tuple[str, ...]) -> None:
  for name in names:
    if name not in content:
      raise KeyError(name)


def _without_nonfinite(summary: dict[str, Any]) -> dict[str, Any]:
  """Returns a copy with None for numbers that are not finite, which JSON cannot express."""

  def is_nonfinite(value):
    return isinstance(value, float) and not math.isfinite(value)

  return {name: None if is_nonfinite(value) else value for name, value in summary.items()}


def _not_a_result(path: pathlib.Path, error: Exception) -> DataError:
  problem = f"it has no {error}" if isinstance(error, KeyError) else error
  return DataError(
    path, f"is not the result of a run: {problem}", "remove it, and the run is done again"
  )


def _pack(array: np.ndarray, dtype: str) -> str:
  """Returns an array as text: its dtype, and its bytes compressed."""
  packed = zlib.compress(array.astype(dtype).tobytes(), 9)
  return f"{dtype}:{base64.b64encode(packed).decode()}"


def _unpack(text: str, old_dtype: str) -> np.ndarray:
  """Returns the array of a text from `_pack`; those of older versions do not name their dtype."""
  dtype, _, encoded = text.rpartition(":")
  if dtype not in ("", "<i4", "<f4"):
    raise ValueError(f"'{dtype[:20]}' is not a dtype of a result")
  packed = base64.b64decode(encoded, validate=True)
  return np.frombuffer(zlib.decompress(packed), dtype or old_dtype)
