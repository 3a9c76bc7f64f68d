"""Reads a step, after its files are compared with their checksums."""

import json
import pathlib
from typing import Any

import numpy as np

from transformer_jax.checkpoints import checksums
from transformer_jax.checkpoints.arrays import read_arrays
from transformer_jax.checkpoints.checksums import Damaged
from transformer_jax.checkpoints.layout import META, STATE, is_own_file


def read_step(
  folder: pathlib.Path, step: int, part: str = "", like: Any = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns (name -> array, meta) of a step; `part` and `like` as in `arrays.read_arrays`.

  Raises:
    Damaged: names the file.
    CheckpointError: it does not fit `like`.
  """
  path = folder / str(step)
  try:
    checksums.verify(path, is_own_file)
    info = json.loads((path / META).read_bytes())
    if info["step"] != step:
      raise Damaged(path / META, f"belongs to step {info['step']}, not {step}")
    return read_arrays(path / STATE, part, like), info["meta"]
  except Exception:
    if not path.is_dir():  # a run that is training deletes its older steps
      raise Damaged(path, "was deleted while it was read") from None
    raise


def read_meta(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """Returns the meta of a step, without comparing the checksum.

  Raises:
    Damaged: it cannot be read.
  """
  path = folder / str(step) / META
  try:
    return json.loads(path.read_bytes())["meta"]
  except (OSError, ValueError, KeyError, TypeError):
    raise Damaged(path, "cannot be read") from None
