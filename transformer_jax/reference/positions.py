"""Positional encoding (Section 3.5), one element at a time."""

import math

import numpy as np


def positional_encoding(length: int, d_model: int) -> np.ndarray:
  """Returns PE, [length, D].

  PE(pos, 2i) = sin(pos / 10000^(2i/d)), and PE(pos, 2i+1) is the cosine of the same angle.
  """
  table_LD = np.zeros((length, d_model))
  for position in range(length):
    for i in range(d_model // 2):
      angle = position / 10000 ** (2 * i / d_model)
      table_LD[position, 2 * i] = math.sin(angle)
      table_LD[position, 2 * i + 1] = math.cos(angle)
  return table_LD


def concatenated_positional_encoding(length: int, d_model: int) -> np.ndarray:
  """Returns the encoding of the authors' released code, [length, D].

  It has all sines, then all cosines, and its frequencies end at exactly 1/10000.
  """
  half = d_model // 2
  table_LD = np.zeros((length, d_model))
  for position in range(length):
    for j in range(half):
      angle = position * 10000 ** (-j / max(half - 1, 1))
      table_LD[position, j] = math.sin(angle)
      table_LD[position, half + j] = math.cos(angle)
  return table_LD


def rotation(offset: int, d_model: int) -> np.ndarray:
  """Returns the matrix M, [D, D], with PE(pos + offset) = M PE(pos) for every pos.

  It has 2x2 rotations on its diagonal.
  """
  matrix_DD = np.zeros((d_model, d_model))
  for i in range(d_model // 2):
    angle = offset / 10000 ** (2 * i / d_model)
    # sin(a + b) = cos(b) sin(a) + sin(b) cos(a); cos(a + b) = -sin(b) sin(a) + cos(b) cos(a)
    matrix_DD[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [
      [math.cos(angle), math.sin(angle)],
      [-math.sin(angle), math.cos(angle)],
    ]
  return matrix_DD
