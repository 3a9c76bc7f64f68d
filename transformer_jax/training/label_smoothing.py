"""Cross-entropy against smoothed labels (Section 5.4), from logits, or from what the logits are made of."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from transformer_jax.attention.matmul import sum_of_outer_products
from transformer_jax.config import PAD_ID
from transformer_jax.model.embedding import project

_CHUNK = 1 << 26  # logits that are in memory at once, 256 MB


def smoothed_cross_entropy(logits_BTC, target_BT, smoothing):
  """Cross-entropy of each position, with and without smoothing: two float32 arrays [B, T], in nats.

  The right class gets 1 - smoothing, each of the other C - 1 gets smoothing / (C - 1); the entropy of that
  distribution is not subtracted. The gather form below equals the sum over that distribution, without building it.
  """
  loss_BT, nll_BT, _ = _cross_entropy(logits_BTC, target_BT, smoothing)
  return loss_BT, nll_BT


def _cross_entropy(logits_BTC, target_BT, smoothing):
  """(loss, negative log-likelihood, log of the softmax's denominator) of each position."""
  normalizer_BT = logsumexp(logits_BTC, axis=-1)
  nll_BT = normalizer_BT - jnp.take_along_axis(logits_BTC, target_BT[..., None], axis=-1)[..., 0]
  if smoothing == 0.0:
    return nll_BT, nll_BT, normalizer_BT
  low, excess = _parts(smoothing, logits_BTC.shape[-1])
  every_nll_BT = logits_BTC.shape[-1] * normalizer_BT - jnp.sum(logits_BTC, axis=-1)
  return excess * nll_BT + low * every_nll_BT, nll_BT, normalizer_BT


def _parts(smoothing, num_classes):
  """What every class gets, and what the right one gets besides."""
  low = smoothing / (num_classes - 1)
  return low, 1 - smoothing - low


def summed_cross_entropy(outputs_BTD, matrix_CD, target_BT, smoothing):
  """Sums of `smoothed_cross_entropy` of the logits `outputs matrix^T` over all targets but PAD: (loss, negative log-likelihood).

  The logits, by far the largest array of a training step, are made a chunk at a time, and their gradient is used up at once: neither
  is kept. The loss has gradients by outputs and matrix; the other sum has none.
  """
  return _summed(
    outputs_BTD.reshape(-1, outputs_BTD.shape[-1]), matrix_CD, target_BT.reshape(-1), smoothing
  )


def nll_of_targets(outputs_BTD, matrix_CD, target_BT):
  """Negative log-likelihood of each target given the logits `outputs matrix^T`, float32 [B, T] in nats; 0 for PAD.

  The logits are made a chunk at a time, and once more for gradients, so that all of them are never in memory.
  """

  @jax.checkpoint
  def of_chunk(sums, chunk):
    _, (_, nll, _) = _losses(*chunk, matrix_CD, 0.0)
    return sums, nll

  rows = outputs_BTD.reshape(-1, outputs_BTD.shape[-1]), target_BT.reshape(-1)
  return _each_chunk(of_chunk, (), *rows, matrix_CD.shape[0])[1].reshape(target_BT.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _summed(outputs_RD, matrix_CD, target_R, smoothing):

  def add(sums, chunk):
    _, (loss, nll, _) = _losses(*chunk, matrix_CD, smoothing)
    return (sums[0] + loss.sum(), sums[1] + nll.sum()), None

  return _each_chunk(add, (0.0, 0.0), outputs_RD, target_R, matrix_CD.shape[0])[0]


def _forward(outputs_RD, matrix_CD, target_R, smoothing):
  """The sums; and, as the loss is one number, its gradients already."""
  low, excess = _parts(smoothing, matrix_CD.shape[0])

  def add(sums, chunk):
    outputs, target = chunk
    logits, (loss, nll, normalizer) = _losses(outputs, target, matrix_CD, smoothing)
    is_right = jnp.arange(matrix_CD.shape[0]) == target[:, None]
    slope = jnp.exp(logits - normalizer[:, None]) - low - jnp.where(is_right, excess, 0.0)
    slope = jnp.where((target != PAD_ID)[:, None], slope, 0.0).astype(outputs.dtype)
    of_outputs = (slope @ matrix_CD.astype(slope.dtype)).astype(outputs.dtype)
    of_matrix = sum_of_outer_products(slope, outputs, jnp.float32)
    return (sums[0] + loss.sum(), sums[1] + nll.sum(), sums[2] + of_matrix), of_outputs

  start = (0.0, 0.0, jnp.zeros(matrix_CD.shape, jnp.float32))
  (loss, nll, of_matrix), of_outputs = _each_chunk(
    add, start, outputs_RD, target_R, matrix_CD.shape[0]
  )
  return (loss, nll), (of_outputs, of_matrix)


def _backward(smoothing, gradients, slopes):
  of_outputs, of_matrix = gradients
  return (slopes[0] * of_outputs).astype(of_outputs.dtype), slopes[0] * of_matrix, None


_summed.defvjp(_forward, _backward)


def _losses(outputs_RD, target_R, matrix_CD, smoothing):
  """(logits, (loss, negative log-likelihood, log of the denominator)) of a chunk, the first two 0 for PAD."""
  logits_RC = project(outputs_RD, matrix_CD.astype(outputs_RD.dtype), contract_axis=1)
  loss_R, nll_R, normalizer_R = _cross_entropy(logits_RC, target_R, smoothing)
  is_token = target_R != PAD_ID
  return logits_RC, (
    jnp.where(is_token, loss_R, 0.0),
    jnp.where(is_token, nll_R, 0.0),
    normalizer_R,
  )


def _each_chunk(function, start, outputs_RD, target_R, num_classes):
  """`lax.scan` of `function` over chunks of rows, the last one filled up with PAD; results by row have the rows' number again."""
  rows = target_R.shape[0]
  count = -(-rows * num_classes // _CHUNK)
  if count == 1:
    return function(start, (outputs_RD, target_R))
  size = -(-rows // count)
  fill = lambda x: jnp.pad(x, [(0, count * size - rows)] + [(0, 0)] * (x.ndim - 1)).reshape(
    count, size, *x.shape[1:]
  )
  sums, by_row = lax.scan(function, start, (fill(outputs_RD), fill(target_R)))
  return sums, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], by_row)
