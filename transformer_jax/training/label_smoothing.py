"""Cross-entropy against smoothed labels (Section 5.4).

The functions take logits, or the outputs and the matrix whose product the logits are (plus a bias,
if the model has one).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.attention.matmul import sum_of_outer_products
from transformer_jax.config import PAD_ID
from transformer_jax.model.embedding import project
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer
from transformer_jax.parallel import ALIGNED_ROWS, backend

# Logits that are in memory at once: 256 MB on a CPU. Elsewhere 1 GB, since the sum of the matrix's
# gradients is read and written for each chunk.
_CHUNK = 1 << 26
_CHUNK_ELSEWHERE = 1 << 28


def smoothed_cross_entropy(
  logits_BTC: Float32[Array, "B T C"], target_BT: Int32[Array, "B T"], smoothing: float
) -> tuple[Float32[Array, "B T"], Float32[Array, "B T"]]:
  """Returns the cross-entropy of each position, with and without smoothing, in nats.

  The right class gets 1 - smoothing, each of the other C - 1 gets smoothing / (C - 1). The entropy
  of that distribution is not subtracted. The gather form below equals the sum over that
  distribution, without building it.

  Example:
    logits_BTC = jnp.zeros((1, 1, 4))
    loss_BT, nll_BT = smoothed_cross_entropy(logits_BTC, jnp.array([[2]]), 0.1)
    # both are [[1.386]], the log of 4
  """
  loss_BT, nll_BT, _ = _cross_entropy(logits_BTC, target_BT, smoothing)
  return loss_BT, nll_BT


def _cross_entropy(logits, target, smoothing):
  """Returns each position's loss, negative log-likelihood, and log of the softmax's denominator."""
  normalizer = logsumexp(logits, axis=-1)
  nll = normalizer - jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
  if smoothing == 0.0:
    return nll, nll, normalizer
  num_classes = logits.shape[-1]
  low, excess = _label_parts(smoothing, num_classes)
  nll_of_all = num_classes * normalizer - jnp.sum(logits, axis=-1)
  return excess * nll + low * nll_of_all, nll, normalizer


def _label_parts(smoothing: float, num_classes: int) -> tuple[float, float]:
  """Returns the probability that every class gets, and the right class's share on top of it."""
  low = smoothing / (num_classes - 1)
  return low, 1 - smoothing - low


def summed_cross_entropy(
  outputs_BTD: Float[Array, "B T D"],
  matrix_CD: Float32[Array, "C D"],
  target_BT: Int32[Array, "B T"],
  smoothing: float,
  bias_C: Float32[Array, " C"] | None = None,
) -> tuple[Float32[Array, ""], Float32[Array, ""]]:
  """Returns the sums of loss and negative log-likelihood over all targets but PAD, in nats.

  They are sums of `smoothed_cross_entropy` of the logits `outputs matrix^T + bias`. The logits, by
  far the largest array of a training step, are computed a chunk at a time, and their gradient is
  used at once: neither is kept. The loss has gradients with respect to outputs, matrix and bias.
  The negative log-likelihood has none.
  """
  outputs_RD = outputs_BTD.reshape(-1, outputs_BTD.shape[-1])
  return _summed(outputs_RD, matrix_CD, bias_C, target_BT.reshape(-1), smoothing)


def nll_of_targets(
  outputs_BTD: Float[Array, "B T D"],
  matrix_CD: Float32[Array, "C D"],
  target_BT: Int32[Array, "B T"],
  bias_C: Float32[Array, " C"] | None = None,
) -> Float32[Array, "B T"]:
  """Returns the negative log-likelihood of each target, in nats; 0 for PAD.

  The logits are `outputs matrix^T + bias`. They are computed a chunk at a time, and once more for
  gradients, so that all of them are never in memory.
  """

  @jax.checkpoint
  def add_rows(carry, chunk):
    outputs_RD, target_R = chunk
    _, (_, nll_R, _) = _losses(outputs_RD, target_R, matrix_CD, bias_C, 0.0)
    return carry, nll_R

  outputs_RD = outputs_BTD.reshape(-1, outputs_BTD.shape[-1])
  target_R = target_BT.reshape(-1)
  _, nll_R = _scan_chunks(add_rows, (), outputs_RD, target_R, matrix_CD.shape[0])
  return nll_R.reshape(target_BT.shape)


def sequence_log_probs(
  model: Transformer,
  params: dict[str, Any],
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  gates: HeadGates | None = None,
) -> Float32[Array, " B"]:
  """Returns the log-probability of each target given its source, EOS included, in nats.

  A target that is all PAD gets 0. `gates` scale the outputs of the heads.
  """
  return jnp.sum(token_log_probs(model, params, source_BS, target_BT, gates), axis=-1)


def token_log_probs(
  model: Transformer,
  params: dict[str, Any],
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  gates: HeadGates | None = None,
) -> Float32[Array, "B T"]:
  """Returns the log-probability of each target token, in nats; 0 for PAD."""
  outputs: Any = model.apply(
    {"params": params}, source_BS, target_BT, gates=gates, method="before_logits"
  )
  outputs_BTD, matrix_CD, bias_C = outputs
  return -nll_of_targets(outputs_BTD, matrix_CD, target_BT, bias_C)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _summed(outputs_RD, matrix_CD, bias_C, target_R, smoothing):
  """Returns the sums of loss and negative log-likelihood."""

  def add_chunk(sums, chunk):
    outputs_RD, target_R = chunk
    _, (loss_R, nll_R, _) = _losses(outputs_RD, target_R, matrix_CD, bias_C, smoothing)
    return (sums[0] + loss_R.sum(), sums[1] + nll_R.sum()), None

  sums, _ = _scan_chunks(add_chunk, (0.0, 0.0), outputs_RD, target_R, matrix_CD.shape[0])
  return sums


def _forward(outputs_RD, matrix_CD, bias_C, target_R, smoothing):
  """Returns (the sums, residuals); the residuals are the gradients of the summed loss."""
  num_classes = matrix_CD.shape[0]
  low, excess = _label_parts(smoothing, num_classes)

  def add_chunk(sums, chunk):
    outputs_RD, target_R = chunk
    logits_RC, (loss_R, nll_R, normalizer_R) = _losses(
      outputs_RD, target_R, matrix_CD, bias_C, smoothing
    )
    is_right_RC = jnp.arange(num_classes) == target_R[:, None]
    probabilities_RC = jnp.exp(logits_RC - normalizer_R[:, None])
    gradient_RC = probabilities_RC - low - jnp.where(is_right_RC, excess, 0.0)
    is_token_R1 = (target_R != PAD_ID)[:, None]
    float32_gradient_RC = jnp.where(is_token_R1, gradient_RC, 0.0)
    gradient_RC = float32_gradient_RC.astype(outputs_RD.dtype)
    outputs_gradient_RD = gradient_RC @ matrix_CD.astype(gradient_RC.dtype)
    matrix_gradient_CD = sum_of_outer_products(gradient_RC, outputs_RD, jnp.float32)
    sums = (
      sums[0] + loss_R.sum(),
      sums[1] + nll_R.sum(),
      sums[2] + matrix_gradient_CD,
      None if bias_C is None else sums[3] + float32_gradient_RC.sum(axis=0),
    )
    return sums, outputs_gradient_RD.astype(outputs_RD.dtype)

  start = (0.0, 0.0, jnp.zeros(matrix_CD.shape, jnp.float32), _zeros_like(bias_C))
  sums, outputs_gradient_RD = _scan_chunks(add_chunk, start, outputs_RD, target_R, num_classes)
  loss, nll, matrix_gradient_CD, bias_gradient_C = sums
  return (loss, nll), (outputs_gradient_RD, matrix_gradient_CD, bias_gradient_C)


def _backward(smoothing, residuals, gradients):  # noqa: ARG001  jax passes nondiff_argnums first
  outputs_gradient_RD, matrix_gradient_CD, bias_gradient_C = residuals
  loss_gradient, _ = gradients
  scaled_RD = (loss_gradient * outputs_gradient_RD).astype(outputs_gradient_RD.dtype)
  bias_gradient_C = None if bias_gradient_C is None else loss_gradient * bias_gradient_C
  return scaled_RD, loss_gradient * matrix_gradient_CD, bias_gradient_C, None


_summed.defvjp(_forward, _backward)


def _zeros_like(bias_C):
  return None if bias_C is None else jnp.zeros_like(bias_C)


def _losses(outputs_RD, target_R, matrix_CD, bias_C, smoothing):
  """Returns a chunk's logits and (loss, negative log-likelihood, log of the denominator).

  Loss and negative log-likelihood are 0 for PAD.
  """
  logits_RC = project(outputs_RD, matrix_CD.astype(outputs_RD.dtype), contract_axis=1)
  if bias_C is not None:
    logits_RC += bias_C
  loss_R, nll_R, normalizer_R = _cross_entropy(logits_RC, target_R, smoothing)
  is_token_R = target_R != PAD_ID
  loss_R = jnp.where(is_token_R, loss_R, 0.0)
  nll_R = jnp.where(is_token_R, nll_R, 0.0)
  return logits_RC, (loss_R, nll_R, normalizer_R)


def _scan_chunks(function, start, outputs_RD, target_R, num_classes):
  """Runs `function` (carry, (outputs, target)) -> (carry, results by row) over chunks of rows.

  The last chunk is padded with PAD. Returns the last carry and the results of all R rows.
  """
  rows = target_R.shape[0]
  chunk, multiple = (_CHUNK, 1) if backend() == "cpu" else (_CHUNK_ELSEWHERE, ALIGNED_ROWS)
  num_chunks = -(-rows * num_classes // chunk)
  if num_chunks == 1:
    return function(start, (outputs_RD, target_R))
  size = multiple * -(-rows // (multiple * num_chunks))

  def split(array):
    padding = [(0, num_chunks * size - rows)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(num_chunks, size, *array.shape[1:])

  def join(chunks):
    return chunks.reshape(-1, *chunks.shape[2:])[:rows]

  carry, chunks = lax.scan(function, start, (split(outputs_RD), split(target_R)))
  return carry, jax.tree.map(join, chunks)
