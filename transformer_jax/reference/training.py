"""Label smoothing, the learning rate and Adam (Sections 5.3 and 5.4), as written in the paper."""

from collections.abc import Callable, Sequence

import numpy as np


def smoothed_distribution(token: int, vocab_size: int, label_smoothing: float) -> np.ndarray:
  """Returns 1 - eps for the right token, eps / (V - 1) for each other, [C] (Section 5.4)."""
  distribution_C = np.full(vocab_size, label_smoothing / (vocab_size - 1))
  distribution_C[token] = 1 - label_smoothing
  return distribution_C


def smoothed_loss(
  logits_TC: np.ndarray,
  target_T: Sequence[int] | np.ndarray,
  label_smoothing: float,
  pad_id: int = 0,
) -> tuple[float, int]:
  """Returns (summed cross entropy against the smoothed distribution, tokens counted).

  The loss is in nats. PAD is left out.
  """
  loss = 0.0
  count = 0
  for logits_C, token in zip(np.asarray(logits_TC, np.float64), target_T, strict=True):
    if token == pad_id:
      continue
    shifted_C = logits_C - np.max(logits_C)
    log_probabilities_C = shifted_C - np.log(np.sum(np.exp(shifted_C)))
    distribution_C = smoothed_distribution(token, len(logits_C), label_smoothing)
    loss -= np.dot(distribution_C, log_probabilities_C)
    count += 1
  return loss, count


def smoothing_entropy(vocab_size: int, label_smoothing: float) -> float:
  """Returns the entropy of the smoothed distribution, nats.

  It is the least that `smoothed_loss` can be for a token.
  """
  if label_smoothing == 0:
    return 0.0
  wrong = label_smoothing / (vocab_size - 1)
  return -(1 - label_smoothing) * np.log(1 - label_smoothing) - label_smoothing * np.log(wrong)


def learning_rate(step: float, d_model: int, warmup_steps: int, scale: float = 1.0) -> float:
  """Returns d_model^-0.5 min(step^-0.5, step warmup_steps^-1.5), step from 1 (equation 3)."""
  return scale * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def adam(
  parameters: np.ndarray,
  gradients: Callable[[np.ndarray, int], np.ndarray],
  learning_rates: Sequence[float],
  beta1: float = 0.9,
  beta2: float = 0.98,
  epsilon: float = 1e-9,
) -> np.ndarray:
  """Returns the parameters after Adam's updates, with bias correction (Section 5.3).

  Args:
    parameters: array before the first update.
    gradients: function (parameters, step) -> gradient of the same shape; steps count from 1.
    learning_rates: one per update.
  """
  parameters = np.array(parameters, np.float64)
  mean = np.zeros(parameters.shape)
  square = np.zeros(parameters.shape)
  for step, rate in enumerate(learning_rates, start=1):
    gradient = gradients(parameters, step)
    mean = beta1 * mean + (1 - beta1) * gradient
    square = beta2 * square + (1 - beta2) * gradient**2
    unbiased_mean = mean / (1 - beta1**step)
    unbiased_square = square / (1 - beta2**step)
    parameters = parameters - rate * unbiased_mean / (np.sqrt(unbiased_square) + epsilon)
  return parameters
