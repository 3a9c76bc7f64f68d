"""The table of attention kernels, what each cannot do, and which one is the fastest for a shape.

A kernel is a function (query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS) -> [B, T, H, V]. To add one: write the
function, give it a row in KERNELS, and the tests over the table hold it to the reference.
"""

import dataclasses
import functools
import json
import math
import pathlib
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
    _widen(query_BTHK, width),
    _widen(key_BSHK, width),
    _widen(value_BSHV, width),
    scale=1 / math.sqrt(d_k),
    implementation=implementation,
    **_library_mask(query_BTHK, key_BSHK, mask),
  )
  return heads_BTHV[..., :d_v]


def _library_mask(query_BTHK, key_BSHK, mask):
  """The mask in that function's arguments. Fused kernels turn a dense mask into a bias, so it is the last resort."""
  num_queries, num_keys = query_BTHK.shape[1], key_BSHK.shape[1]
  if mask.query_segments_BT is None and mask.allowed_BTS is None:
    lengths = {} if mask.key_lengths_B is None else dict(key_value_seq_lengths=mask.key_lengths_B)
    return dict(is_causal=mask.causal, **lengths)
  return dict(mask=mask.dense(num_queries, num_keys)[:, None])


def _widen(x, width):
  return (
    x if x.shape[-1] == width else jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])
  )


def _xla_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  return _library_attention("xla", query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _cudnn_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  return _library_attention("cudnn", query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _no_dropout(use):
  return (
    "it has no dropout on attention weights; use --attention_kernel=reference"
    if use.attention_dropout
    else None
  )


def _why_not_cudnn(use):
  if use.backend != "gpu":
    return f"cuDNN runs on NVIDIA GPUs, and this is a {use.backend}"
  if use.dtype != "bfloat16":
    return "cuDNN's fused attention wants --dtype=bfloat16"
  width = max(use.d_k, use.d_v)
  if width % 8 or width > 128:
    return f"cuDNN's fused attention wants head widths that 8 divides, at most 128, not {width}"
  return _no_dropout(use)


def _auto_attention(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS=None):
  """Attention by the fastest kernel for these shapes; they are known when the program is traced."""
  _, num_queries, num_heads, d_k = query_BTHK.shape
  use = Use(
    jax.default_backend(),
    str(query_BTHK.dtype),
    d_k,
    value_BSHV.shape[-1],
    attention_dropout=multiplier_BHTS is not None,
  )
  name = fastest_kernel(use, num_heads, num_queries, key_BSHK.shape[1])
  return KERNELS[name].attend(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


KERNELS = {
  "auto": Kernel(_auto_attention, lambda use: None),
  "reference": Kernel(reference_attention, lambda use: None),
  "blocked": Kernel(blocked_attention, _no_dropout),
  "xla": Kernel(_xla_attention, _no_dropout),
  "cudnn": Kernel(_cudnn_attention, _why_not_cudnn),
}

_UNMEASURED = "xla"
_LONG, _FOR_LONG = (
  2048,
  "blocked",
)  # positions from which scores would fill the memory, and the kernel that does not keep them

FASTEST = pathlib.Path(__file__).with_name(
  "fastest.json"
)  # what `benchmarks/attention_kernels.py --write` measured


def fastest_kernel(use, num_heads, num_queries, num_keys):
  """The name of the kernel that was the fastest, forward and backward, for the measured shape nearest to this one.

  Nearest is by factors of length (the geometric mean of queries and keys) and of heads. Kernels that cannot serve the use are left out.
  Where nothing was measured it is the library's; long sequences have the one whose memory is linear in length.
  """
  length = math.sqrt(num_queries * num_keys)
  distance = lambda row: (
    abs(math.log2(row["length"] / length)) + abs(math.log2(row["num_heads"] / num_heads))
  )
  measured = _measured().get(f"{use.backend} {use.dtype}", {}).get("fastest", [])
  names = (
    [_FOR_LONG]
    if length >= _LONG
    else [row["kernel"] for row in sorted(measured, key=distance)] or [_UNMEASURED]
  )
  return next((name for name in names if KERNELS[name].why_not(use) is None), "reference")


@functools.cache
def _measured():
  """ "backend dtype" -> what was measured there."""
  return json.loads(FASTEST.read_text(encoding="utf-8"))
