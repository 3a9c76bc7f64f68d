"""Multi-head attention (Section 3.2.2)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from transformer_jax.attention import KERNELS, Mask, cached_attention, reference_weights
from transformer_jax.attention.matmul import dot_general
from transformer_jax.config import ModelConfig
from transformer_jax.model.cache import KeysAndValues
from transformer_jax.model.dropout import keep_multiplier


class MultiHeadAttention(nn.Module):
  """Projects to H heads, attends in each, joins them with W^O: Concat(head_1 .. head_h) W^O.

  `config.attention_kernel` names a row of KERNELS.
  """

  config: ModelConfig
  dtype: jnp.dtype

  def setup(self) -> None:
    cfg = self.config
    self.query = self._dense((cfg.num_heads, cfg.d_k), -1, _projection_init(cfg, cfg.d_k))
    self.key = self._dense((cfg.num_heads, cfg.d_k), -1, _projection_init(cfg, cfg.d_k))
    self.value = self._dense((cfg.num_heads, cfg.d_v), -1, _projection_init(cfg, cfg.d_v))
    self.out = self._dense(cfg.d_model, (-2, -1), nn.initializers.xavier_uniform())

  def _dense(
    self,
    features: int | tuple[int, ...],
    axis: int | tuple[int, ...],
    kernel_init: nn.initializers.Initializer,
  ) -> nn.DenseGeneral:
    """Returns a product with a parameter matrix, plus a bias if the configuration has one.

    Xavier's fans are those of the whole D x (H K) matrix, so the initial scale does not depend on
    H.
    """
    return nn.DenseGeneral(
      features,
      axis=axis,
      use_bias=self.config.attention_bias,
      dtype=self.dtype,
      dot_general=dot_general,
      kernel_init=kernel_init,
    )

  def __call__(
    self,
    inputs_BTD: Float[Array, "B T D"],
    memory_BSD: Float[Array, "B S D"],
    mask: Mask,
    deterministic: bool = True,
    return_weights: bool = False,
    gates_H: Float[Array, "... H"] | None = None,
  ) -> tuple[Float[Array, "B T D"], Float32[Array, "B H T S"] | None]:
    """Attends from inputs to memory (the inputs again, or the encoder's output).

    `gates_H` ([H], or [B, H]) are factors of the heads' outputs: see `HeadGates`.

    Returns:
      (outputs, attention weights or None). Weights are those of the reference kernel, before
      dropout.
    """
    query_BTHK = self.query(inputs_BTD)
    key_BSHK = self.key(memory_BSD)
    value_BSHV = self.value(memory_BSD)
    multiplier_BHTS = self._weight_dropout(query_BTHK, key_BSHK.shape[1], deterministic)
    kernel = "reference" if return_weights else self.config.attention_kernel
    heads_BTHV = KERNELS[kernel].attend(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)
    weights_BHTS = reference_weights(query_BTHK, key_BSHK, mask) if return_weights else None
    return self._join(heads_BTHV, gates_H), weights_BHTS

  def keys_and_values(self, memory_BSD: Float[Array, "B S D"]) -> KeysAndValues:
    """Returns the keys and values of the memory, for `attend_cached`."""
    keys_BHKS = self.key(memory_BSD).transpose(0, 2, 3, 1)
    values_BHSV = self.value(memory_BSD).swapaxes(1, 2)
    return KeysAndValues(keys_BHKS, values_BHSV)

  def attend_cached(
    self,
    inputs_BTD: Float[Array, "B T D"],
    cached: KeysAndValues,
    mask: Mask,
    gates_H: Float[Array, "... H"] | None = None,
  ) -> Float[Array, "B T D"]:
    """Attends from inputs to keys and values that were computed before."""
    query_BTHK = self.query(inputs_BTD)
    heads_BTHV = cached_attention(query_BTHK, cached.keys_BHKS, cached.values_BHSV, mask)
    return self._join(heads_BTHV, gates_H)

  def _join(
    self, heads_BTHV: Float[Array, "B T H V"], gates_H: Float[Array, "... H"] | None
  ) -> Float[Array, "B T D"]:
    """Returns Concat(head_1 .. head_h) W^O, with each head times its gate."""
    if gates_H is not None:
      heads_BTHV = heads_BTHV * gates_H[..., None, :, None].astype(heads_BTHV.dtype)
    return self.out(heads_BTHV)

  def _weight_dropout(
    self, query_BTHK: Float[Array, "B T H K"], num_keys: int, deterministic: bool
  ) -> Float32[Array, "B H T {num_keys}"] | None:
    """Returns the factors of the attention weights; None multiplies nothing."""
    rate = self.config.attention_dropout_rate
    if deterministic or rate == 0.0:
      return None
    batch, num_queries, num_heads = query_BTHK.shape[:3]
    shape = (batch, num_heads, num_queries, num_keys)
    return keep_multiplier(self.make_rng("dropout"), shape, rate)


def _projection_init(config: ModelConfig, width: int) -> nn.initializers.Initializer:
  """Returns the initializer of a projection to heads of a width, by `config.attention_init`.

  Xavier's variance is 2 / (D + columns). The columns are the projection's own, or those of all
  three projections.
  """
  if config.attention_init == "separate":
    return nn.initializers.xavier_uniform()
  own_columns = config.num_heads * width
  fused_columns = config.num_heads * (2 * config.d_k + config.d_v)
  scale = (config.d_model + own_columns) / (config.d_model + fused_columns)
  return nn.initializers.variance_scaling(scale, "fan_avg", "uniform")
