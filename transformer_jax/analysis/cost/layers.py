"""Table 1 measured: a layer of each kind over sequences of growing length, beside its formula (Section 4).

Each layer is what its row counts and no more: attention without projections, a recurrence without gates. So the constants
are those of the leanest layer of its kind; only how the time grows with n is the table's claim.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from transformer_jax.analysis.cost.formulas import TABLE_1
from transformer_jax.analysis.timing import compiled, interleaved_timings
from transformer_jax.attention import Mask, reference_attention


def self_attention(x_BND, matrices, r):
  """Every position attends to every other: n^2 d, twice (scores and weighted sum)."""
  x_BNHD = x_BND[:, :, None]
  return reference_attention(x_BNHD, x_BNHD, x_BNHD, Mask())[:, :, 0]


def restricted_self_attention(x_BND, matrices, r):
  """Each position attends to the r around it: r n d, twice. The r neighbours are slices, not a mask over n^2 scores."""
  length, before = x_BND.shape[1], r // 2
  padded = jnp.pad(x_BND, ((0, 0), (before, r - 1 - before), (0, 0)))
  neighbours = [lax.slice_in_dim(padded, i, i + length, axis=1) for i in range(r)]
  scores_RBN = jnp.stack([jnp.sum(x_BND * other, axis=-1) for other in neighbours]) / np.sqrt(
    x_BND.shape[-1]
  )
  places = jnp.arange(length) + jnp.arange(r)[:, None]  # in `padded`
  is_real = (places >= before) & (places < before + length)
  weights_RBN = jax.nn.softmax(jnp.where(is_real[:, None], scores_RBN, -jnp.inf), axis=0)
  return sum(
    weight[..., None] * other for weight, other in zip(weights_RBN, neighbours, strict=True)
  )


def recurrent(x_BND, matrices, r):
  """h_t = tanh(x_t + h_(t-1) U): n d^2, one step after the other."""

  def step(hidden_BD, x_BD):
    hidden_BD = jnp.tanh(x_BD + hidden_BD @ matrices[0])
    return hidden_BD, hidden_BD

  _, outputs = lax.scan(step, jnp.zeros_like(x_BND[:, 0]), x_BND.swapaxes(0, 1))
  return outputs.swapaxes(0, 1)


def convolutional(x_BND, matrices, r):
  """Each output sees k neighbouring inputs through k matrices: k n d^2."""
  return lax.conv_general_dilated(
    x_BND, matrices, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
  )


# The separable convolution of Section 4's last paragraph is no row of the table, and not measured.
LAYERS = {
  "self-attention": self_attention,
  "restricted self-attention": restricted_self_attention,
  "recurrent": recurrent,
  "convolutional": convolutional,
}


def measure_table_1(d_model, lengths, *, kernel_width=3, neighbourhood=16, batch_size=8, rounds=5):
  """Times forward passes; a list of dicts with the formula's operations, sequential operations, longest path, and seconds."""
  records = []
  matrices = jnp.asarray(
    np.random.default_rng(0).standard_normal((kernel_width, d_model, d_model)) / d_model,
    jnp.float32,
  )
  for length in lengths:
    x_BND = jnp.asarray(
      np.random.default_rng(1).standard_normal((batch_size, length, d_model)), jnp.float32
    )
    subjects = [
      compiled(lambda x, m, layer=layer: layer(x, m, neighbourhood), x_BND, matrices)
      for layer in LAYERS.values()
    ]
    for name, timing in zip(LAYERS, interleaved_timings(subjects, rounds), strict=True):
      operations, sequential, path = (
        formula(length, d_model, kernel_width, neighbourhood) for formula in TABLE_1[name]
      )
      records.append(
        dict(
          layer=name,
          length=length,
          d_model=d_model,
          operations=operations,
          sequential_operations=sequential,
          longest_path=path,
          seconds=dataclasses.asdict(timing),
        )
      )
  return records


def crossing(records, one="self-attention", other="recurrent"):
  """The smallest measured length from which `one` is slower than `other`, or None."""
  times = {(record["layer"], record["length"]): record["seconds"]["median"] for record in records}
  lengths = sorted({record["length"] for record in records})
  slower = [times[one, length] > times[other, length] for length in lengths]
  for index, length in enumerate(lengths):
    if all(slower[index:]):
      return length
  return None
