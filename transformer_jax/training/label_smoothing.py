"""Cross-entropy against smoothed labels (Section 5.4)."""

import jax.numpy as jnp
from jax.nn import logsumexp


def smoothed_cross_entropy(logits_BTC, target_BT, smoothing):
  """Cross-entropy of each position, with and without smoothing: two float32 arrays [B, T], in nats.

  The right class gets 1 - smoothing, each of the other C - 1 gets smoothing / (C - 1); the entropy of that
  distribution is not subtracted. The gather form below equals the sum over that distribution, without building it.
  """
  num_classes = logits_BTC.shape[-1]
  log_normalizer_BT = logsumexp(logits_BTC, axis=-1)
  right_BT = jnp.take_along_axis(logits_BTC, target_BT[..., None], axis=-1)[..., 0]
  nll_BT = log_normalizer_BT - right_BT
  if smoothing == 0.0:
    return nll_BT, nll_BT
  low = smoothing / (num_classes - 1)
  every_nll_BT = num_classes * log_normalizer_BT - jnp.sum(logits_BTC, axis=-1)
  return (1 - smoothing - low) * nll_BT + low * every_nll_BT, nll_BT
