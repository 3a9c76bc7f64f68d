"""Label smoothing, the learning rate and Adam (Sections 5.3 and 5.4), as written in the paper."""

import numpy as np


def smoothed_distribution(token, vocab_size, label_smoothing):
  """1 - eps for the right token, eps / (V - 1) for each other, [C] (Section 5.4)."""
  distribution_C = np.full(vocab_size, label_smoothing / (vocab_size - 1))
  distribution_C[token] = 1 - label_smoothing
  return distribution_C


def smoothed_loss(logits_TC, target_T, label_smoothing, pad_id=0):
  """Returns (summed cross entropy against the smoothed distribution, tokens counted), nats; PAD is left out."""
  loss, count = 0.0, 0
  for logits_C, token in zip(np.asarray(logits_TC, np.float64), target_T):
    if token == pad_id:
      continue
    log_probabilities_C = (
      logits_C - np.max(logits_C) - np.log(np.sum(np.exp(logits_C - np.max(logits_C))))
    )
    loss -= np.dot(
      smoothed_distribution(token, len(logits_C), label_smoothing), log_probabilities_C
    )
    count += 1
  return loss, count


def smoothing_entropy(vocab_size, label_smoothing):
  """Entropy of the smoothed distribution, nats: the least that `smoothed_loss` can be for a token."""
  if label_smoothing == 0:
    return 0.0
  wrong = label_smoothing / (vocab_size - 1)
  return -(1 - label_smoothing) * np.log(1 - label_smoothing) - label_smoothing * np.log(wrong)


def learning_rate(step, d_model, warmup_steps, scale=1.0):
  """d_model^-0.5 min(step^-0.5, step warmup_steps^-1.5), step counted from 1 (equation 3)."""
  return scale * d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)


def adam(parameters, gradients, learning_rates, beta1=0.9, beta2=0.98, epsilon=1e-9):
  """The parameters after one Adam update for each gradient, with bias correction (Section 5.3).

  Args:
    parameters: array before the first update.
    gradients: function (parameters, step) -> gradient of the same shape; steps count from 1.
    learning_rates: one float per update.
  """
  parameters = np.array(parameters, np.float64)
  mean, square = np.zeros(parameters.shape), np.zeros(parameters.shape)
  for step, rate in enumerate(learning_rates, start=1):
    gradient = gradients(parameters, step)
    mean = beta1 * mean + (1 - beta1) * gradient
    square = beta2 * square + (1 - beta2) * gradient**2
    unbiased_mean, unbiased_square = mean / (1 - beta1**step), square / (1 - beta2**step)
    parameters = parameters - rate * unbiased_mean / (np.sqrt(unbiased_square) + epsilon)
  return parameters
