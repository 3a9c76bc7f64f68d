"""Measures Table 1: a layer of each kind over sequences of growing length (Section 4).

A layer computes only what its row of the table counts: attention has no projections, the recurrence
no gates. So the constants are those of the leanest layer of each kind. The table claims only how
the time grows with n.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from transformer_jax.analysis.cost.formulas import table_1
from transformer_jax.analysis.timing import compiled, interleaved_timings
from transformer_jax.attention import Mask, reference_attention

_BATCH_SIZE = 8
_KERNEL_WIDTH = 3
_NEIGHBORHOOD = 16

Sequences = Float[Array, "B N D"]
Matrices = Float[Array, "k D D"]


def self_attention(x_BND: Sequences) -> Sequences:
  """Attends from every position to every other: n^2 d, twice (scores and weighted sum)."""
  x_BNHD = x_BND[:, :, None]
  return reference_attention(x_BNHD, x_BNHD, x_BNHD, Mask())[:, :, 0]


def restricted_self_attention(x_BND: Sequences, r: int) -> Sequences:
  """Attends from each position to the r around it: r n d, twice.

  The r neighbors are slices, since a mask over n^2 scores would save nothing.
  """
  length = x_BND.shape[1]
  before = r // 2
  padded = jnp.pad(x_BND, ((0, 0), (before, r - 1 - before), (0, 0)))
  neighbors = [lax.slice_in_dim(padded, i, i + length, axis=1) for i in range(r)]
  scores_RBN = jnp.stack([jnp.sum(x_BND * other, axis=-1) for other in neighbors])
  scores_RBN = scores_RBN / np.sqrt(x_BND.shape[-1])
  places_RN = jnp.arange(length) + jnp.arange(r)[:, None]  # in `padded`
  is_real_RN = (places_RN >= before) & (places_RN < before + length)
  weights_RBN = jax.nn.softmax(jnp.where(is_real_RN[:, None], scores_RBN, -jnp.inf), axis=0)
  outputs_BND = jnp.zeros_like(x_BND)
  for weights_BN, other_BND in zip(weights_RBN, neighbors, strict=True):
    outputs_BND += weights_BN[..., None] * other_BND
  return outputs_BND


def recurrent(x_BND: Sequences, matrices: Matrices) -> Sequences:
  """Computes h_t = tanh(x_t + h_(t-1) U), one step after the other: n d^2."""

  def step(hidden_BD, x_BD):
    hidden_BD = jnp.tanh(x_BD + hidden_BD @ matrices[0])
    return hidden_BD, hidden_BD

  _, outputs_NBD = lax.scan(step, jnp.zeros_like(x_BND[:, 0]), x_BND.swapaxes(0, 1))
  return outputs_NBD.swapaxes(0, 1)


def convolutional(x_BND: Sequences, matrices: Matrices) -> Sequences:
  """Computes each output from k neighboring inputs through k matrices: k n d^2."""
  return lax.conv_general_dilated(
    x_BND, matrices, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
  )


# Layer -> function of inputs and matrices. The separable convolution of Section 4's last paragraph
# is not a row of the table, so it is not measured.
LAYERS: dict[str, Callable[[Sequences, Matrices], Sequences]] = {
  "self-attention": lambda x_BND, _: self_attention(x_BND),
  "restricted self-attention": lambda x_BND, _: restricted_self_attention(x_BND, _NEIGHBORHOOD),
  "recurrent": recurrent,
  "convolutional": convolutional,
}


def measure_table_1(d_model: int, lengths: Sequence[int], *, rounds: int = 5) -> list[dict]:
  """Times forward passes of all layers at each length.

  Returns:
    A dict for each layer and length: the formula's operations, sequential operations and longest
    path, and the seconds.
  """
  rng = np.random.default_rng(0)
  matrices = rng.standard_normal((_KERNEL_WIDTH, d_model, d_model)) / d_model
  matrices = jnp.asarray(matrices, jnp.float32)
  records = []
  for length in lengths:
    x_BND = np.random.default_rng(1).standard_normal((_BATCH_SIZE, length, d_model))
    x_BND = jnp.asarray(x_BND, jnp.float32)
    subjects = [compiled(layer, x_BND, matrices) for layer in LAYERS.values()]
    timings = interleaved_timings(subjects, rounds)
    by_formula = table_1(length, d_model, _KERNEL_WIDTH, _NEIGHBORHOOD)
    for name, timing in zip(LAYERS, timings, strict=True):
      records.append(
        dict(
          layer=name,
          length=length,
          d_model=d_model,
          **by_formula[name]._asdict(),
          seconds=dataclasses.asdict(timing),
        )
      )
  return records


def crossing(
  records: Sequence[dict[str, Any]], one: str = "self-attention", other: str = "recurrent"
) -> int | None:
  """Returns the smallest measured length from which `one` is slower than `other`, or None."""
  times = {(record["layer"], record["length"]): record["seconds"]["median"] for record in records}
  lengths = sorted({record["length"] for record in records})
  slower = [times[one, length] > times[other, length] for length in lengths]
  for index, length in enumerate(lengths):
    if all(slower[index:]):
      return length
  return None
