"""Positional encoding (Section 3.5)."""

import numpy as np
from jaxtyping import Float32


def sinusoids(
  length: int, d_model: int, layout: str = "sinusoidal"
) -> Float32[np.ndarray, "{length} {d_model}"]:
  """Returns the sinusoidal table.

  Args:
    length: number of positions.
    d_model: width.
    layout: "sinusoidal" is the paper's: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos
      of the same angle. "sinusoidal_concatenated" is that of the authors' code: all sines, then all
      cosines, with frequencies 10000^(-j / (d/2 - 1)), so that the slowest is exactly 1/10000.
  """
  half = d_model // 2
  positions = np.arange(length)[:, None]
  if layout == "sinusoidal":
    frequencies = 10000.0 ** (-2.0 * np.arange(half) / d_model)
    angles = positions * frequencies  # float64: positions of thousands stay exact
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, d_model)
  else:
    frequencies = 10000.0 ** (-np.arange(half) / max(half - 1, 1))
    angles = positions * frequencies
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  return table.astype(np.float32)
