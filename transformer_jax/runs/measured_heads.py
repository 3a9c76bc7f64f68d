"""Reads heads.json, which `heads` writes: what was measured of each head of a run."""

import json
import pathlib
import sys
from typing import Any

from transformer_jax.errors import DataError
from transformer_jax.files import StrPath


def read_heads(workdir: StrPath, steps: list[int]) -> dict[str, Any] | None:
  """Returns the content of a run's heads/heads.json, or None if there is none.

  If it was measured on other checkpoints than `steps`, a warning says so.

  Raises:
    DataError: the file was not written by `heads`.
  """
  path = pathlib.Path(workdir) / "heads" / "heads.json"
  if not path.exists():
    return None
  problem = DataError(
    path, "is not what transformer-jax heads writes", "remove it, or run heads again"
  )
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError):
    raise problem from None
  if not isinstance(found, dict) or not {"steps", "perplexity", "heads"} <= found.keys():
    raise problem
  rows = found["heads"]
  if not isinstance(rows, list) or not all(isinstance(row, dict) and row for row in rows):
    raise problem
  if found["steps"] != steps:
    measured = f"{path} was measured on checkpoints {found['steps']}"
    print(f"transformer-jax: {measured}, but the attention is that of {steps}", file=sys.stderr)
  return found
