"""Everything that an update changes: a pytree that is checkpointed whole, so that a resumed run is the same run."""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from transformer_jax.training.schedule import noam_schedule


class Sums(flax.struct.PyTreeNode):
  """Running sums since the last line of metrics; divided once, when the line is written."""

  loss: jax.Array  # float32, what is optimised, summed over target tokens
  nll: jax.Array  # float32, without label smoothing
  source_tokens: jax.Array  # int32, EOS included, padding not
  target_tokens: jax.Array  # int32

  @classmethod
  def zero(cls):
    """Sums over nothing."""
    return cls(jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0))


class TrainState(flax.struct.PyTreeNode):
  """Parameters, Adam's moments, counters. Randomness is no part of it: keys are functions of (seed, step)."""

  step: jax.Array  # int32, updates done
  params: dict
  opt_state: optax.OptState
  sums: Sums  # since the last logged step
  grad_norm: jax.Array  # float32, of the last update that was tried
  skipped: jax.Array  # int32, non-finite updates since the start
  skipped_in_a_row: jax.Array  # int32, the latest of them without a finite one between


def optimizer(config):
  """Adam with the paper's schedule (Section 5.3): no clipping, no weight decay."""
  train = config.train
  schedule = noam_schedule(config.model.d_model, train.warmup_steps, train.learning_rate_scale)
  # optax counts updates from 0, the paper from 1.
  return optax.adam(
    lambda count: schedule(count + 1),
    b1=train.adam_beta1,
    b2=train.adam_beta2,
    eps=train.adam_epsilon,
  )


def initial_state(config, model):
  """The state before the first update, a pure function of the configuration."""
  tokens = jnp.ones((1, 2), jnp.int32)
  params = model.init(jax.random.key(config.train.seed), tokens, tokens)["params"]
  return TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=optimizer(config).init(params),
    sums=Sums.zero(),
    grad_norm=jnp.float32(0),
    skipped=jnp.int32(0),
    skipped_in_a_row=jnp.int32(0),
  )
