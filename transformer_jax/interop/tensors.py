"""Reads the arrays of a safetensors file with numpy alone.

The format: 8 bytes with the header's length, a header of JSON, then the raw arrays.
"""

import json
import math
import pathlib

import numpy as np

from transformer_jax.data.text import read_problem
from transformer_jax.errors import CheckpointError

_LONGEST_HEADER = 1 << 27  # bytes
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns name -> array, float32; float16 and bfloat16 are widened.

  Raises:
    CheckpointError: the file cannot be read, is damaged, or has an array of another type.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise CheckpointError(path, f"cannot be read: {read_problem(error)}") from None
  try:
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= min(_LONGEST_HEADER, len(content) - 8):
      raise ValueError
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    entries = [
      (name, entry["dtype"], tuple(map(int, entry["shape"])), *map(int, entry["data_offsets"]))
      for name, entry in header.items()
    ]
    return {
      name: _array(path, name, dtype, shape, memoryview(content)[8 + length :][start:end])
      for name, dtype, shape, start, end in entries
    }
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    raise CheckpointError(
      path, "is not a whole safetensors file", "fetch or write it again"
    ) from None


def _array(
  path: pathlib.Path, name: str, dtype: str, shape: tuple[int, ...], content: memoryview
) -> np.ndarray:
  if dtype == "BF16":
    halves = np.frombuffer(content, "<u2")
    flat = (halves.astype("<u4") << 16).view("<f4")
  elif dtype in _FLOATS:
    flat = np.frombuffer(content, _FLOATS[dtype]).astype(np.float32)
  else:
    raise CheckpointError(path, f"{name} is of type {dtype}", "write its arrays as float32")
  if flat.size != math.prod(shape):
    raise ValueError
  return flat.reshape(shape)
