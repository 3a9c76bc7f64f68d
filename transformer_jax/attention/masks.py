"""Which key positions a query may attend to, as a small structure instead of a [T, S] array.

Kernels that need the dense array ask for it (`Mask.dense`); fused kernels read the parts.
"""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp


# jax rebuilds it with whatever a transformation puts in its fields: tracers, shapes, axes, None.
@typing.no_type_check
@functools.partial(
  jax.tree_util.register_dataclass,
  meta_fields=["causal"],
  data_fields=["key_lengths_B", "query_segments_BT", "key_segments_BS", "allowed_BTS"],
)
@dataclasses.dataclass(frozen=True)
class Mask:
  """All given conditions must hold for an attention to be allowed; none given allows everything.

  Attributes:
    causal: query t attends to keys s <= t only (Section 3.2.3).
    key_lengths_B: int32; keys at and after an example's length are padding.
    query_segments_BT, key_segments_BS: int32; a query attends to keys of its own segment only (packed examples).
    allowed_BTS: bool, True = may attend; for what the other parts cannot say.
  """

  causal: bool = False
  key_lengths_B: jax.Array | None = None
  query_segments_BT: jax.Array | None = None
  key_segments_BS: jax.Array | None = None
  allowed_BTS: jax.Array | None = None

  def allows_everything(self):
    """Whether no condition is given."""
    return not self.causal and not jax.tree.leaves(self)

  def dense(self, num_queries, num_keys, first_query=0):
    """The mask as bool [B or 1, T, S], True = may attend; query t counts as the (first_query + t)-th in `causal`."""
    allowed_BTS = jnp.ones((1, num_queries, num_keys), bool)
    if self.causal:
      allowed_BTS &= jnp.arange(num_keys) <= first_query + jnp.arange(num_queries)[:, None]
    if self.key_lengths_B is not None:
      allowed_BTS &= jnp.arange(num_keys) < self.key_lengths_B[:, None, None]
    if self.query_segments_BT is not None:
      allowed_BTS &= self.query_segments_BT[:, :, None] == self.key_segments_BS[:, None, :]
    if self.allowed_BTS is not None:
      allowed_BTS &= self.allowed_BTS
    return allowed_BTS


def sequence_lengths(tokens_BS, pad_id):
  """int32 [B]: how many positions stand before the padding at the end of each row."""
  return jnp.sum(tokens_BS != pad_id, axis=-1, dtype=jnp.int32)
