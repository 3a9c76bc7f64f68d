"""What decoding remembers, as values that go in and come out (plain pytrees, no mutable collection).

The keys of M hypotheses are never moved when hypotheses change places. A table of ancestry says, for each hypothesis
and position, in whose place the key was written; attention goes over the keys of all M places under a mask made from
it. That reads M times the keys but moves nothing: only the small table follows the surviving hypotheses.
"""

import typing

import flax.struct
import jax
import jax.numpy as jnp

from transformer_jax.attention import Mask


@typing.no_type_check  # see attention/masks.py
class Memory(flax.struct.PyTreeNode):
  """The encoder's output as the decoder's layers attend to it; fixed while decoding."""

  keys: tuple[jax.Array, ...]  # one [B, H, S, K] a layer
  values: tuple[jax.Array, ...]  # one [B, H, S, V] a layer
  lengths_B: jax.Array

  @property
  def mask(self):
    """Mask over the source's positions."""
    return Mask(key_lengths_B=self.lengths_B)


@typing.no_type_check  # see attention/masks.py
class Cache(flax.struct.PyTreeNode):
  """Self-attention keys and values of every position so far; key (l, m) stands at l * M + m of axis S."""

  keys: tuple[jax.Array, ...]  # one [B, H, L*M, K] a layer
  values: tuple[jax.Array, ...]  # one [B, H, L*M, V] a layer
  ancestry_BML: (
    jax.Array
  )  # int32: the place that wrote position l of hypothesis m; -1 where nothing is written yet

  def reorder(self, parents_BM):
    """The cache after hypothesis m became a continuation of hypothesis `parents_BM[b, m]`."""
    return self.replace(
      ancestry_BML=jnp.take_along_axis(self.ancestry_BML, parents_BM[:, :, None], axis=1)
    )

  def claim(self, position):
    """The cache in which every hypothesis owns its own place at `position`."""
    num_hypotheses = self.ancestry_BML.shape[1]
    return self.replace(
      ancestry_BML=self.ancestry_BML.at[:, :, position].set(jnp.arange(num_hypotheses))
    )

  def mask(self):
    """Which of the L*M keys each hypothesis descends from: Mask with [B, M, L*M]."""
    batch, num_hypotheses, length = self.ancestry_BML.shape
    owns_BMLM = self.ancestry_BML[..., None] == jnp.arange(num_hypotheses)
    return Mask(allowed_BTS=owns_BMLM.reshape(batch, num_hypotheses, length * num_hypotheses))


def empty_cache(config, dtype, batch, beam_size, max_length):
  """A Cache with room for `max_length` positions."""
  room = (batch, config.num_heads, max_length * beam_size)
  return Cache(
    keys=tuple(jnp.zeros((*room, config.d_k), dtype) for _ in range(config.num_layers)),
    values=tuple(jnp.zeros((*room, config.d_v), dtype) for _ in range(config.num_layers)),
    ancestry_BML=jnp.full((batch, beam_size, max_length), -1, jnp.int32),
  )


def write(room_BHSK, new_BHMK, position):
  """`room_BHSK` with the M new keys (or values) of `position` in their places."""
  num_hypotheses = new_BHMK.shape[2]
  return jax.lax.dynamic_update_slice(
    room_BHSK, new_BHMK.astype(room_BHSK.dtype), (0, 0, position * num_hypotheses, 0)
  )
