"""Positional encoding (Section 3.5)."""

import numpy as np


def sinusoids(length, d_model, layout="sinusoidal"):
  """The sinusoidal table, float32 [length, d_model].

  Layout "sinusoidal" is the paper's: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same.
  "sinusoidal_concatenated" is the authors' code's: all sines, then all cosines, with frequencies
  10000^(-j / (d/2 - 1)), so that the slowest is exactly 1/10000.
  """
  half = d_model // 2
  if layout == "sinusoidal":
    frequencies = 10000.0 ** (-2.0 * np.arange(half) / d_model)
  else:
    frequencies = 10000.0 ** (-np.arange(half) / max(half - 1, 1))
  angles = np.arange(length)[:, None] * frequencies  # float64: positions of thousands stay exact
  if layout == "sinusoidal":
    return (
      np.stack([np.sin(angles), np.cos(angles)], axis=-1)
      .reshape(length, d_model)
      .astype(np.float32)
    )
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)
