"""Multi-head attention (Section 3.2.2)."""

import flax.linen as nn
import jax.numpy as jnp

from transformer_jax.attention import KERNELS, Mask, cached_attention, reference_weights
from transformer_jax.attention.matmul import dot_general
from transformer_jax.config import ModelConfig
from transformer_jax.model.dropout import keep_multiplier


class MultiHeadAttention(nn.Module):
  """Projects to H heads, attends in each, joins them with W^O: Concat(head_1 .. head_h) W^O.

  `config.attention_kernel` names a row of KERNELS.
  """

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self):
    # Xavier's fans are those of the whole D x (H K) matrix, so the initial scale does not change with H.
    dense = lambda features, axis: nn.DenseGeneral(
      features,
      axis=axis,
      use_bias=False,
      dtype=self.dtype,
      dot_general=dot_general,
      kernel_init=nn.initializers.xavier_uniform(),
    )
    cfg = self.config
    self.query = dense((cfg.num_heads, cfg.d_k), -1)
    self.key = dense((cfg.num_heads, cfg.d_k), -1)
    self.value = dense((cfg.num_heads, cfg.d_v), -1)
    self.out = dense(cfg.d_model, (-2, -1))

  def __call__(
    self, inputs_BTD, memory_BSD, mask, deterministic=True, return_weights=False, gates_H=None
  ):
    """Attends from inputs to memory (themselves, or the encoder's output).

    `gates_H` ([H], or [B, H]) are factors of the heads' outputs: see `HeadGates`.

    Returns:
      ([B, T, D], attention weights float32 [B, H, T, S] or None). Weights are those of the reference kernel,
      before dropout.
    """
    query_BTHK, key_BSHK, value_BSHV = (
      self.query(inputs_BTD),
      self.key(memory_BSD),
      self.value(memory_BSD),
    )
    multiplier_BHTS = self._weight_dropout(query_BTHK, key_BSHK.shape[1], deterministic)
    attend = KERNELS["reference" if return_weights else self.config.attention_kernel].attend
    heads_BTHV = attend(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)
    weights_BHTS = reference_weights(query_BTHK, key_BSHK, mask) if return_weights else None
    return self._join(heads_BTHV, gates_H), weights_BHTS

  def keys_and_values(self, memory_BSD):
    """Keys [B, H, S, K] and values [B, H, S, V] of the memory, laid out for `attend_cached`."""
    return self.key(memory_BSD).swapaxes(1, 2), self.value(memory_BSD).swapaxes(1, 2)

  def attend_cached(self, inputs_BTD, key_BHSK, value_BHSV, mask: Mask, gates_H=None):
    """Attends from inputs to keys and values computed before, [B, T, D]."""
    return self._join(cached_attention(self.query(inputs_BTD), key_BHSK, value_BHSV, mask), gates_H)

  def _join(self, heads_BTHV, gates_H):
    """Concat(head_1 .. head_h) W^O, each head times its gate."""
    if gates_H is not None:
      heads_BTHV = heads_BTHV * gates_H[..., None, :, None].astype(heads_BTHV.dtype)
    return self.out(heads_BTHV)

  def _weight_dropout(self, query_BTHK, num_keys, deterministic):
    rate = self.config.attention_dropout_rate
    if deterministic or rate == 0.0:
      return None
    batch, num_queries, num_heads = query_BTHK.shape[:3]
    return keep_multiplier(
      self.make_rng("dropout"), (batch, num_heads, num_queries, num_keys), rate
    )
