"""The table of attention kernels, what each cannot do, and which one `auto` takes.

A kernel is a function (query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS) -> [B, T, H, V]. To add one: write the
function, give it a row in KERNELS, and the tests over the table hold it to the reference.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from transformer_jax.attention.blocked import blocked_attention
from transformer_jax.attention.dot_product import reference_attention


@dataclasses.dataclass(frozen=True)
class Use:
  """What a kernel is wanted for."""

  backend: str  # cpu, gpu or tpu
  dtype: str  # float32 or bfloat16
  d_k: int
  d_v: int
  attention_dropout: bool = False


@dataclasses.dataclass(frozen=True)
class Kernel:
  """`attend` computes attention; `why_not(use)` is the reason it cannot serve a use, or None."""

  attend: Callable
  why_not: Callable


def _library_attention(implementation, query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS):
  """`jax.nn.dot_product_attention`; it wants d_k = d_v, so the narrower is padded with zeros, which adds nothing."""
  if multiplier_BHTS is not None:
    raise ValueError(f"the {implementation} kernel has no dropout on attention weights")
  d_k, d_v = query_BTHK.shape[-1], value_BSHV.shape[-1]
  width = max(d_k, d_v)
  heads_BTHV = jax.nn.dot_product_attention(
      _widen(query_BTHK, width), _widen(key_BSHK, width), _widen(value_BSHV, width),
      scale=1 / math.sqrt(d_k), implementation=implementation, **_library_mask(query_BTHK, key_BSHK, mask))
  return heads_BTHV[..., :d_v]


def _library_mask(query_BTHK, key_BSHK, mask):
  """The mask in that function's arguments. Fused kernels turn a dense mask into a bias, so it is the last resort."""
  num_queries, num_keys = query_BTHK.shape[1], key_BSHK.shape[1]
  if mask.query_segments_BT is None and mask.allowed_BTS is None:
    lengths = {} if mask.key_lengths_B is None else dict(key_value_seq_lengths=mask.key_lengths_B)
    return dict(is_causal=mask.causal, **lengths)
  return dict(mask=mask.dense(num_queries, num_keys)[:, None])


def _widen(x, width):
  return x if x.shape[-1] == width else jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def _xla_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  return _library_attention("xla", query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _cudnn_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  return _library_attention("cudnn", query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _no_dropout(use):
  return "it has no dropout on attention weights; use --attention_kernel=reference" if use.attention_dropout else None


def _why_not_cudnn(use):
  if use.backend != "gpu":
    return f"cuDNN runs on NVIDIA GPUs, and this is a {use.backend}"
  if use.dtype != "bfloat16":
    return "cuDNN's fused attention wants --dtype=bfloat16"
  width = max(use.d_k, use.d_v)
  if width % 8 or width > 128:
    return f"cuDNN's fused attention wants head widths that 8 divides, at most 128, not {width}"
  return _no_dropout(use)


KERNELS = {
    "reference": Kernel(reference_attention, lambda use: None),
    "blocked": Kernel(blocked_attention, _no_dropout),
    "xla": Kernel(_xla_attention, _no_dropout),
    "cudnn": Kernel(_cudnn_attention, _why_not_cudnn),
}

# What `auto` takes, first choice first.
_AUTO = {"cpu": ("xla", "reference"), "gpu": ("xla", "reference"), "tpu": ("xla", "reference")}


def choose_kernel(name, use):
  """The name of the kernel to use: `name` itself, or for "auto" the backend's first that can serve.

  Raises:
    ValueError: the named kernel cannot serve this use; the message is the reason.
  """
  if name == "auto":
    return next(n for n in _AUTO.get(use.backend, ("reference",)) if KERNELS[n].why_not(use) is None)
  reason = KERNELS[name].why_not(use)
  if reason:
    raise ValueError(reason)
  return name
