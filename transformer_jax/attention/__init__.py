"""The mathematics of attention, in jax only (floor 2; imports floors 0 and 1)."""

from transformer_jax.attention.dot_product import (
  cached_attention,
  reference_attention,
  reference_weights,
)
from transformer_jax.attention.kernels import (
  KERNELS,
  AttentionKernel,
  Kernel,
  Use,
  fastest_kernel,
)
from transformer_jax.attention.masks import Mask, sequence_lengths

__all__ = [
  "KERNELS",
  "AttentionKernel",
  "Kernel",
  "Mask",
  "Use",
  "cached_attention",
  "fastest_kernel",
  "reference_attention",
  "reference_weights",
  "sequence_lengths",
]
