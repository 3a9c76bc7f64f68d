"""The table of attention kernels, what each cannot do, and which one is the fastest for a shape.

To add one: write a function that is an AttentionKernel, give it a row in KERNELS, and its name to
the choices of `attention_kernel` in `config/model.py`. The tests over the table compare it with the
reference.
"""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from transformer_jax.attention.blocked import blocked_attention
from transformer_jax.attention.dot_product import reference_attention
from transformer_jax.attention.masks import Mask
from transformer_jax.errors import ConfigError


@runtime_checkable
class AttentionKernel(Protocol):
  """A function that computes the output of every head of every example.

  `multiplier_BHTS` scales the weights after the softmax: dropout's 0 or 1 / (1 - rate).
  """

  def __call__(
    self,
    query_BTHK: Float[Array, "B T H K"],
    key_BSHK: Float[Array, "B S H K"],
    value_BSHV: Float[Array, "B S H V"],
    mask: Mask,
    multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
    /,
  ) -> Float[Array, "B T H V"]: ...


@dataclasses.dataclass(frozen=True)
class Use:
  """The circumstances in which a kernel is to be used."""

  backend: str  # cpu, gpu or tpu
  dtype: str  # float32 or bfloat16
  d_k: int
  d_v: int
  attention_dropout: bool = False


@dataclasses.dataclass(frozen=True)
class Kernel:
  """A row of KERNELS."""

  attend: AttentionKernel
  why_not: Callable[[Use], str | None]  # the reason why it cannot serve a use, or None
  longest: int | float = (
    math.inf
  )  # queries or keys: where there are more, another kernel does its work


def _library_attention(
  implementation: Literal["xla", "cudnn"],
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the result of `jax.nn.dot_product_attention`.

  It requires d_k = d_v, so the narrower is padded with zeros, which add nothing.
  """
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
    **_library_mask(mask, query_BTHK.shape[1], key_BSHK.shape[1]),
  )
  return heads_BTHV[..., :d_v]


def _library_mask(mask: Mask, num_queries: int, num_keys: int) -> dict[str, Any]:
  """Returns the mask as arguments of `jax.nn.dot_product_attention`.

  A dense mask is built only for segments and `allowed_BTS`: fused kernels turn it into a bias.
  """
  if mask.query_segments_BT is not None or mask.allowed_BTS is not None:
    return dict(mask=mask.dense(num_queries, num_keys)[:, None])
  if mask.key_lengths_B is None:
    return dict(is_causal=mask.causal)
  return dict(is_causal=mask.causal, key_value_seq_lengths=mask.key_lengths_B)


def _cudnn_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the result of cuDNN's fused attention, or of XLA's where the mask is a dense one.

  cuDNN's gradients require even lengths, so odd ones get one query or key more, which nothing
  reads. What it gives where there is no key is not defined, so these examples take the mean of all
  values, as in the other kernels.
  """
  if mask.query_segments_BT is not None or mask.allowed_BTS is not None:
    return _library_attention("xla", query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)
  num_queries, num_keys = query_BTHK.shape[1], key_BSHK.shape[1]
  lengths_B = mask.key_lengths_B
  if lengths_B is not None:
    mask = Mask(mask.causal, jnp.maximum(lengths_B, 1))
  elif num_keys % 2:
    mask = Mask(mask.causal, jnp.full(len(key_BSHK), num_keys, jnp.int32))
  heads_BTHV = _library_attention(
    "cudnn",
    _evened(query_BTHK),
    _evened(key_BSHK),
    _evened(value_BSHV),
    mask,
    multiplier_BHTS,
  )[:, :num_queries]
  if lengths_B is None:
    return heads_BTHV
  mean_B1HV = jnp.mean(value_BSHV, axis=1, keepdims=True)
  return jnp.where((lengths_B == 0)[:, None, None, None], mean_B1HV, heads_BTHV)


def _fused_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the result of `fused_attention`, or of cuDNN's where there are too many positions."""
  from transformer_jax.attention.fused import fused_attention  # noqa: PLC0415  for GPUs only: 0.1 s

  is_short = max(query_BTHK.shape[1], key_BSHK.shape[1]) <= KERNELS["fused"].longest
  attend = fused_attention if is_short else _cudnn_attention
  return attend(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _evened(x: Float[Array, "B S H K"]) -> Float[Array, "B _ H K"]:
  """Returns `x`, with zeros for one position more if it has an odd number of them."""
  return jnp.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)])


def _widen(x: Float[Array, "B S H K"], width: int) -> Float[Array, "B S H {width}"]:
  """Returns `x` with zeros at the end of its last axis."""
  missing = width - x.shape[-1]
  if missing == 0:
    return x
  return jnp.pad(x, [(0, 0), (0, 0), (0, 0), (0, missing)])


def _auto_attention(
  query_BTHK: Float[Array, "B T H K"],
  key_BSHK: Float[Array, "B S H K"],
  value_BSHV: Float[Array, "B S H V"],
  mask: Mask,
  multiplier_BHTS: Float32[Array, "B H T S"] | None = None,
) -> Float[Array, "B T H V"]:
  """Returns the output of the fastest kernel for these shapes, chosen when traced."""
  _, num_queries, num_heads, d_k = query_BTHK.shape
  use = Use(
    backend=jax.default_backend(),
    dtype=str(query_BTHK.dtype),
    d_k=d_k,
    d_v=value_BSHV.shape[-1],
    attention_dropout=multiplier_BHTS is not None,
  )
  name = fastest_kernel(use, num_heads, num_queries, key_BSHK.shape[1])
  return KERNELS[name].attend(query_BTHK, key_BSHK, value_BSHV, mask, multiplier_BHTS)


def _serves_all(use: Use) -> str | None:  # noqa: ARG001  # as `why_not` of a Kernel
  return None


def _no_dropout(use: Use) -> str | None:
  if use.attention_dropout:
    return "it has no dropout on attention weights; use --attention_kernel=blocked"
  return None


def _why_not_on_chip(name: str, widest: int, use: Use) -> str | None:
  """Returns why a kernel of that name, for heads of at most `widest`, cannot serve a use.

  Such kernels keep the scores on the chip, and are programs for NVIDIA's tensor cores.
  """
  if use.backend != "gpu":
    return f"{name} runs on NVIDIA GPUs, and this is a {use.backend}"
  if jax.default_backend() == "gpu" and not _has_bfloat16_tensor_cores():
    return f"{name} requires an NVIDIA GPU of compute capability 8.0 or more"
  if use.dtype != "bfloat16":
    return f"{name} requires --dtype=bfloat16"
  width = max(use.d_k, use.d_v)
  if width % 8 or width > widest:
    return f"{name} requires head widths divisible by 8, at most {widest}, not {width}"
  return _no_dropout(use)


@functools.cache
def _has_bfloat16_tensor_cores() -> bool:
  device = jax.local_devices()[0]
  return "cuda" in device.client.platform_version and float(device.compute_capability) >= 8


KERNELS = {
  "auto": Kernel(_auto_attention, _serves_all),
  "reference": Kernel(reference_attention, _serves_all),
  "blocked": Kernel(blocked_attention, _serves_all),
  "xla": Kernel(functools.partial(_library_attention, "xla"), _no_dropout),
  "cudnn": Kernel(_cudnn_attention, functools.partial(_why_not_on_chip, "cuDNN's attention", 128)),
  # All arrays of a program of 64 queries, 64 keys and heads of 64 take 56 KB; the smallest of these
  # GPUs have about 100 KB for it.
  "fused": Kernel(
    _fused_attention,
    functools.partial(_why_not_on_chip, "the fused kernel", 64),
    longest=64,
  ),
}

# From this length on `blocked` is used, since the scores that the others keep would fill memory.
_LONG = 2048
_FOR_LONG = "blocked"
_UNMEASURED = "xla"
_CHOICE = "TRANSFORMER_JAX_AUTO_KERNEL"

# Written by `benchmarks/attention_kernels.py --write`.
FASTEST = pathlib.Path(__file__).with_name("fastest.json")


def fastest_kernel(use: Use, num_heads: int, num_queries: int, num_keys: int) -> str:
  """Returns the name of the fastest kernel, forward and backward, that can serve a use.

  It is the fastest at the nearest measured shape. The distance of two shapes is the factor between
  their lengths (the geometric mean of queries and keys) times that between their numbers of heads.
  Without measurements it is the library's. Long sequences get the kernel whose memory is
  linear in length. With dropout on the weights it is the reference: nothing was measured with it,
  and runs go on to the same bits.

  Raises:
    ConfigError: the environment variable TRANSFORMER_JAX_AUTO_KERNEL, which chooses instead where
      its kernel can serve, names none.

  Example:
    fastest_kernel(Use("cpu", "float32", 64, 64), num_heads=8, num_queries=32, num_keys=32)
  """
  if use.attention_dropout:
    return "reference"
  length = math.sqrt(num_queries * num_keys)
  names = [_FOR_LONG] if length >= _LONG else _nearest_first(use, num_heads, length)
  for name in [*_chosen_by_user(), *names]:
    is_short_enough = max(num_queries, num_keys) <= KERNELS[name].longest
    if is_short_enough and KERNELS[name].why_not(use) is None:
      return name
  return "reference"


def _chosen_by_user() -> list[str]:
  """Returns the kernel that the environment names, if it names one."""
  name = os.environ.get(_CHOICE, "")
  if name and (name not in KERNELS or name == "auto"):
    others = ", ".join(other for other in KERNELS if other != "auto")
    raise ConfigError(f"{_CHOICE}={name}", "there is no such kernel", f"choose one of {others}")
  return [name] if name else []


def _nearest_first(use: Use, num_heads: int, length: float) -> list[str]:
  """Returns the kernels at each measured shape, fastest first, the nearest shape first."""

  def distance(row: dict[str, Any]) -> float:
    by_length = abs(math.log2(row["length"] / length))
    by_heads = abs(math.log2(row["num_heads"] / num_heads))
    return by_length + by_heads

  measured = _measured().get(f"{use.backend} {use.dtype}")
  if not measured:
    return [_UNMEASURED]
  rows = sorted(measured["fastest"], key=distance)
  return [name for row in rows for name in (row["kernel"], *row.get("others", []))]


@functools.cache
def _measured() -> dict[str, Any]:
  """Returns "backend dtype" -> the measurements there."""
  return json.loads(FASTEST.read_text(encoding="utf-8"))
