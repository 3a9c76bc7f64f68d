"""Parameters by dotted name, and their matrices in the layout of other libraries.

A kernel here is [in, out], and heads have an axis of their own. Marian and CTranslate2 have
[out, in].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float32

# Positions of an exported model. CTranslate2, too, cuts sentences after so many tokens.
NUM_POSITIONS = 1024

Kernel = Float32[np.ndarray, "..."]
Matrix = Float32[np.ndarray, "_ _"]


class Parameters:
  """The parameters of a model. Each can be taken once, and `check_all_taken` finds forgotten ones.

  Example:
    parameters = Parameters(model.params)
    parameters.take("shared_embedding.embedding")
    parameters.check_all_taken()
  """

  def __init__(self, params: Mapping[str, Any]) -> None:
    self._left = flatten_dict(params, sep=".")

  def take(self, name: str) -> np.ndarray:
    """Returns a copy of a parameter, which may be changed.

    KeyError if there is none of this name, or if it was taken before.
    """
    return np.array(self._left.pop(name))

  def take_if_there(self, name: str) -> np.ndarray | None:
    """Returns the same, or None if the model lacks it, as it may lack biases."""
    return self.take(name) if name in self._left else None

  def take_embeddings(self, sharing: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the matrices [C, D] of source, target and output; shared ones are one array.

    `sharing` is the model's `embedding_sharing`.
    """
    if sharing == "all":
      shared = self.take("shared_embedding.embedding")
      return shared, shared, shared
    source = self.take("source_embedding.embedding")
    target = self.take("target_embedding.embedding")
    output = self.take("output_projection.kernel").T if sharing == "none" else target
    return source, target, output

  def check_all_taken(self) -> None:
    """Raises a ValueError if a parameter was not taken: the export would be another model."""
    if self._left:
      raise ValueError(f"parameters that this format has no place for: {', '.join(self._left)}")


def sines_first(d_model: int) -> np.ndarray:
  """Returns the order of our features in which all sines come before all cosines, as in Marian."""
  return np.concatenate([np.arange(0, d_model, 2), np.arange(1, d_model, 2)])


def into_heads(kernel_DHK: Kernel) -> Matrix:
  """Returns the matrix [H*K, D] of a projection to heads, [D, H, K]."""
  return kernel_DHK.reshape(len(kernel_DHK), -1).T


def out_of_heads(kernel_HVD: Kernel) -> Matrix:
  """Returns the matrix [D, H*V] of the projection that joins heads, [H, V, D]."""
  return kernel_HVD.reshape(-1, kernel_HVD.shape[-1]).T


def widened(kernel: Kernel, width: int, axis: int) -> Kernel:
  """Returns a kernel with heads of this width: zeros are added at the end of `axis`."""
  padding = [(0, 0)] * kernel.ndim
  padding[axis] = (0, width - kernel.shape[axis])
  return np.pad(kernel, padding)
