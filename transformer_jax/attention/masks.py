"""The mask of an attention, as a small structure instead of a [T, S] array.

Kernels that need the dense array ask for it (`Mask.dense`). Fused kernels read the parts.
"""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32


# jax rebuilds a pytree with whatever a transformation puts in its fields: tracers, but also shapes,
# axes or None. So the types of the fields are not checked here, but in the functions that read
# them.
@typing.no_type_check
@functools.partial(
  jax.tree_util.register_dataclass,
  meta_fields=["causal"],
  data_fields=["key_lengths_B", "query_segments_BT", "key_segments_BS", "allowed_BTS"],
)
@dataclasses.dataclass(frozen=True)
class Mask:
  """The conditions under which a query may attend to a key. All that are given must hold.

  Attributes:
    causal: query t attends to keys s <= t only (Section 3.2.3).
    key_lengths_B: keys at and after an example's length are padding.
    query_segments_BT, key_segments_BS: a query attends only to keys of its own segment (packed
      examples).
    allowed_BTS: True = may attend; for what the other parts cannot say.

  Example:
    Mask(causal=True, key_lengths_B=jnp.array([5, 3]))
  """

  causal: bool = False
  key_lengths_B: Int32[Array, " B"] | None = None
  query_segments_BT: Int32[Array, "B T"] | None = None
  key_segments_BS: Int32[Array, "B S"] | None = None
  allowed_BTS: Bool[Array, "#B T S"] | None = None

  def allows_everything(self) -> bool:
    """Returns whether no condition is given."""
    return not self.causal and not jax.tree.leaves(self)

  def dense(
    self, num_queries: int, num_keys: int, first_query: int | Int32[Array, ""] = 0
  ) -> Bool[Array, "#B T S"]:
    """Returns the mask as an array [B or 1, T, S], True = may attend.

    Args:
      num_queries: T.
      num_keys: S.
      first_query: the position of query 0, which `causal` compares with the keys'.
    """
    allowed_BTS = jnp.ones((1, num_queries, num_keys), bool)
    if self.causal:
      allowed_BTS &= jnp.arange(num_keys) <= first_query + jnp.arange(num_queries)[:, None]
    if self.key_lengths_B is not None:
      allowed_BTS &= jnp.arange(num_keys) < self.key_lengths_B[:, None, None]
    if self.query_segments_BT is not None:
      assert self.key_segments_BS is not None, "segments of queries, but none of keys"
      allowed_BTS &= self.query_segments_BT[:, :, None] == self.key_segments_BS[:, None, :]
    if self.allowed_BTS is not None:
      allowed_BTS &= self.allowed_BTS
    return allowed_BTS


def sequence_lengths(
  tokens_BS: Int32[Array | np.ndarray, "*B S"], pad_id: int
) -> Int32[Array, "*B"]:
  """Returns the number of tokens of each row, without the padding at its end."""
  return jnp.sum(tokens_BS != pad_id, axis=-1, dtype=jnp.int32)
