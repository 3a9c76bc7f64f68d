"""The learning rate (Section 5.3), and the rise of dropout."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float32


def noam_schedule(
  d_model: int, warmup_steps: int, scale: float = 1.0
) -> Callable[[ArrayLike], Float32[Array, "..."]]:
  """Returns the learning rate as a function of `step`, which counts from 1.

  It is scale * d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5): it rises linearly for
  `warmup_steps` updates, then falls with the square root of the step. Scale 1 is the paper's.

  Example:
    rate = noam_schedule(d_model=512, warmup_steps=4000)
    rate(4000)  # 0.000699, the maximum
  """

  def learning_rate(step: ArrayLike) -> Float32[Array, "..."]:
    step = jnp.asarray(step, jnp.float32)
    return scale * d_model**-0.5 * jnp.minimum(step**-0.5, step * warmup_steps**-1.5)

  return learning_rate


def dropout_rise(warmup_steps: int, updates_done: ArrayLike) -> Float32[Array, "..."] | None:
  """Returns the factor of the dropout rates of the next update; None if they are constant.

  It rises linearly from 0 at the first update to 1 after `warmup_steps` updates.

  Example:
    dropout_rise(1000, 250)  # 0.25
  """
  if not warmup_steps:
    return None
  return jnp.minimum(jnp.asarray(updates_done, jnp.float32) / warmup_steps, 1.0)
