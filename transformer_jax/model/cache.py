"""The state of decoding: plain pytrees, which functions take and return.

The keys of M hypotheses never move, even if hypotheses change slots. A table of ancestry says, for
each hypothesis and position, in which slot the key was written. Attention reads the keys of all M
slots under a mask made from that table. This reads M times the keys but moves nothing: only the
small table follows the surviving hypotheses.
"""

import typing
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from transformer_jax.attention import Mask
from transformer_jax.config import ModelConfig

Position = int | Int32[Array, ""]


class KeysAndValues(NamedTuple):
  """One layer's keys and values, with those of each head together in memory.

  With keys in columns, the scores of a few queries are a quick product on a CPU.
  """

  keys_BHKS: Float[Array, "B H K S"]
  values_BHSV: Float[Array, "B H S V"]

  def write(self, new: "KeysAndValues", position: Position) -> "KeysAndValues":
    """Returns a copy with the M new keys and values of `position` in their slots."""
    return KeysAndValues(
      _write(self.keys_BHKS, new.keys_BHKS, position, axis=3),
      _write(self.values_BHSV, new.values_BHSV, position, axis=2),
    )

  def lengthen(self, more: int) -> "KeysAndValues":
    """Returns a copy with room for so many more keys."""
    of_keys, of_values = ((0, 0), (0, more)), ((0, more), (0, 0))
    return KeysAndValues(
      jnp.pad(self.keys_BHKS, ((0, 0), (0, 0), *of_keys)),
      jnp.pad(self.values_BHSV, ((0, 0), (0, 0), *of_values)),
    )


@typing.no_type_check  # see attention/masks.py
class Memory(flax.struct.PyTreeNode):
  """The encoder's output as the decoder's layers attend to it; fixed while decoding."""

  layers: tuple[KeysAndValues, ...]
  lengths_B: Int32[Array, " B"]

  @property
  def mask(self) -> Mask:
    """The mask over the source's positions."""
    return Mask(key_lengths_B=self.lengths_B)


@typing.no_type_check  # see attention/masks.py
class Cache(flax.struct.PyTreeNode):
  """Self-attention keys and values of all positions so far.

  Attributes:
    layers: the key of position l in slot m is at l * M + m of axis S.
    ancestry_BML: the slot that position l of hypothesis m was written in; -1 where there is none.
    words_BM: the number of each hypothesis's word, if positions have one (`Positions`).
  """

  layers: tuple[KeysAndValues, ...]
  ancestry_BML: Int32[Array, "B M L"]
  words_BM: Int32[Array, "B M"] | None = None

  def reorder(self, parents_BM: Int32[Array, "B M"]) -> "Cache":
    """Returns the cache after hypothesis m became a continuation of `parents_BM[b, m]`."""
    ancestry_BML = jnp.take_along_axis(self.ancestry_BML, parents_BM[:, :, None], axis=1)
    words_BM = self.words_BM
    if words_BM is not None:
      words_BM = jnp.take_along_axis(words_BM, parents_BM, axis=1)
    return self.replace(ancestry_BML=ancestry_BML, words_BM=words_BM)

  def claim(self, position: Position) -> "Cache":
    """Returns the cache in which each hypothesis owns its own slot at `position`."""
    num_hypotheses = self.ancestry_BML.shape[1]
    ancestry_BML = self.ancestry_BML.at[:, :, position].set(jnp.arange(num_hypotheses))
    return self.replace(ancestry_BML=ancestry_BML)

  def lengthen(self, room: int) -> "Cache":
    """Returns the cache with room for this many positions."""
    _, num_hypotheses, length = self.ancestry_BML.shape
    more = room - length
    layers = tuple(layer.lengthen(more * num_hypotheses) for layer in self.layers)
    ancestry_BML = jnp.pad(self.ancestry_BML, ((0, 0), (0, 0), (0, more)), constant_values=-1)
    return self.replace(layers=layers, ancestry_BML=ancestry_BML)

  def mask(self) -> Mask:
    """Returns the mask of the keys that each hypothesis descends from, [B, M, L*M]."""
    batch, num_hypotheses, length = self.ancestry_BML.shape
    owns_BMLM = self.ancestry_BML[..., None] == jnp.arange(num_hypotheses)
    return Mask(allowed_BTS=owns_BMLM.reshape(batch, num_hypotheses, length * num_hypotheses))


def empty_cache(
  config: ModelConfig, dtype: jnp.dtype, batch: int, beam_size: int, max_length: int
) -> Cache:
  """Returns a Cache with room for `max_length` positions."""
  of_head, room = (batch, config.num_heads), max_length * beam_size
  layers = []
  for _ in range(config.num_layers):
    keys_BHKS = jnp.zeros((*of_head, config.d_k, room), dtype)
    values_BHSV = jnp.zeros((*of_head, room, config.d_v), dtype)
    layers.append(KeysAndValues(keys_BHKS, values_BHSV))
  ancestry_BML = jnp.full((batch, beam_size, max_length), -1, jnp.int32)
  words_BM = jnp.zeros((batch, beam_size), jnp.int32) if config.positions == "words" else None
  return Cache(tuple(layers), ancestry_BML, words_BM)


def _write(
  room: Float[Array, "B H _ _"], new: Float[Array, "B H _ _"], position: Position, axis: int
) -> Float[Array, "B H _ _"]:
  """Returns `room` with the M new keys (or values) of `position` in their slots of an axis."""
  start = position * new.shape[axis]
  return jax.lax.dynamic_update_slice_in_dim(room, new.astype(room.dtype), start, axis)
