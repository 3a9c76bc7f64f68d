"""The learning rate (Section 5.3)."""

import jax.numpy as jnp


def noam_schedule(d_model, warmup_steps, scale=1.0):
  """lrate = scale * d_model^-0.5 * min(step^-0.5, step * warmup_steps^-1.5), as a function of `step` >= 1.

  Rises linearly for `warmup_steps` updates, then falls with the square root of the step; scale 1 is the paper.
  """

  def learning_rate(step):
    step = jnp.asarray(step, jnp.float32)
    return scale * d_model**-0.5 * jnp.minimum(step**-0.5, step * warmup_steps**-1.5)

  return learning_rate
