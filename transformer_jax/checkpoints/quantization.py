"""Matrices of parameters in 8 or 16 bits: an export that fits a package, a model that fits a page.

In int8 each row has a scale of its own: a number is its integer times the scale. Vectors (biases,
and the scales of LayerNorm) keep 32 bits, being few. To quantize what was quantized changes
nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8

_LARGEST = 127
_SCALE_BITS = 11  # so that 127 times a scale is exact in 24 bits, and gives the scale back


class Int8Matrix(NamedTuple):
  """A matrix in 8 bits."""

  values: Int8[np.ndarray, "rows columns"]
  scales: Float32[np.ndarray, " rows"]

  def to_float(self) -> Float32[np.ndarray, "rows columns"]:
    """Returns the numbers that it stands for."""
    return self.values.astype(np.float32) * self.scales[:, None]


def is_matrix(array: np.ndarray) -> bool:
  """Returns whether a parameter is rounded; vectors are not."""
  return array.ndim > 1


def as_matrix(name: str, array: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "rows columns"]:
  """Returns a parameter as a matrix: an embedding [C, D], or a kernel [inputs, outputs].

  The inputs of the kernel that joins heads, `out`, are [H, V]; the outputs of the others [H, K].
  """
  inputs = 2 if name.endswith("out.kernel") else 1
  return array.reshape(int(np.prod(array.shape[:inputs])), -1)


def to_int8(matrix: Float32[np.ndarray, "rows columns"]) -> Int8Matrix:
  """Returns a matrix in 8 bits: the largest number of a row becomes 127."""
  largest = np.abs(matrix).max(axis=1).astype(np.float64)
  mantissas, exponents = np.frexp(np.where(largest > 0, largest, _LARGEST) / _LARGEST)
  levels = 1 << _SCALE_BITS
  scales = np.ldexp(np.ceil(mantissas * levels) / levels, exponents)
  values = np.rint(matrix / scales[:, None]).astype(np.int8)
  return Int8Matrix(values, scales.astype(np.float32))


def rounded(
  parameters: Mapping[str, np.ndarray], quantization: str
) -> dict[str, Float32[np.ndarray, "..."]]:
  """Returns the parameters by name after "int8" or "float16", in float32 again."""
  return {name: _rounded(name, array, quantization) for name, array in parameters.items()}


def _rounded(name: str, array: np.ndarray, quantization: str) -> np.ndarray:
  if not is_matrix(array):
    return array
  if quantization == "float16":
    return array.astype(np.float16).astype(np.float32)
  return to_int8(as_matrix(name, array)).to_float().reshape(array.shape)
