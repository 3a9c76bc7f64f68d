"""The state that an update changes: a pytree, checkpointed whole, so that runs resume exactly."""

import math
import typing
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32

from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.training.schedule import noam_schedule

# Parameters, or their gradients: a tree of arrays by the names of modules.
Params = dict[str, Any]


@typing.no_type_check  # jax rebuilds it with tracers, shapes, or axes of devices in its fields
class Sums(flax.struct.PyTreeNode):
  """Running sums since the last line of metrics; divided once, when the line is written."""

  loss: Float32[Array, ""]  # the quantity that is optimized, summed over target tokens
  nll: Float32[Array, ""]  # without label smoothing
  source_tokens: Int32[Array, ""]  # EOS included, padding not
  target_tokens: Int32[Array, ""]

  @classmethod
  def zero(cls) -> "Sums":
    """Returns the sums over nothing."""
    return cls(jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0))


@typing.no_type_check  # jax rebuilds it with tracers, shapes, or axes of devices in its fields
class TrainState(flax.struct.PyTreeNode):
  """Parameters, Adam's moments, counters.

  It holds no random keys: they are functions of (seed, step). On devices each leaf has one more
  axis in front, the devices.
  """

  step: Int32[Array, ""]  # updates done
  params: Params
  opt_state: optax.OptState
  sums: Sums  # since the last reported step
  grad_norm: Float32[Array, ""]  # of the last update that was tried
  skipped: Int32[Array, ""]  # non-finite updates since the start
  skipped_in_a_row: Int32[Array, ""]  # non-finite updates since the last finite one
  ema: Params | None = None  # the moving average of `params`, if the settings ask for one

  @property
  def params_in_use(self) -> Params:
    """The parameters to evaluate and decode with."""
    return self.params if self.ema is None else self.ema


def part_in_use(ema_decay: float) -> str:
  """Returns the name of the field that `params_in_use` returns, which is its name in a checkpoint.

  Args:
    ema_decay: the run's setting.
  """
  return "ema" if ema_decay else "params"


def moving_average(
  decay: float, updates: Int32[Array, ""], average: Params, params: Params
) -> Params:
  """Returns the mean of the parameters after each update so far, weighted by decay^age.

  The weights are divided by their sum, so the parameters before the first update have none.

  Args:
    decay: weight of an update relative to the next one.
    updates: number of updates, the one that gave `params` included.
    average: the mean before it.
    params: the parameters after it.
  """
  # (1 - decay) / (1 - decay^updates), also where float32 rounds decay^updates to 1.
  weight = (1 - decay) / -jnp.expm1(updates * math.log(decay))
  return jax.tree.map(lambda mean, new: mean + weight * (new - mean), average, params)


def optimizer(config: Config) -> optax.GradientTransformation:
  """Returns Adam with the paper's schedule (Section 5.3): no clipping, no weight decay."""
  train = config.train
  schedule = noam_schedule(config.model.d_model, train.warmup_steps, train.learning_rate_scale)
  # optax counts updates from 0, the paper from 1.
  return optax.adam(
    lambda count: schedule(count + 1),
    b1=train.adam_beta1,
    b2=train.adam_beta2,
    eps=train.adam_epsilon,
  )


def initial_state(config: Config, model: Transformer, params: Params | None = None) -> TrainState:
  """Returns the state before the first update, a pure function of its arguments.

  Args:
    config: the Config.
    model: the Linen module.
    params: the parameters to begin with; None: random ones, by the seed.
  """
  if params is None:
    tokens = jnp.ones((1, 2), jnp.int32)
    variables: Any = model.init(jax.random.key(config.train.seed), tokens, tokens)
    random_params: Params = variables["params"]
    params = random_params
  return TrainState(
    step=jnp.int32(0),
    params=params,
    opt_state=optimizer(config).init(params),
    sums=Sums.zero(),
    grad_norm=jnp.float32(0),
    skipped=jnp.int32(0),
    skipped_in_a_row=jnp.int32(0),
    ema=jax.tree.map(jnp.copy, params) if config.train.ema_decay else None,
  )
