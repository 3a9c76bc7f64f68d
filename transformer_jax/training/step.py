"""One update: gradients summed over devices and batches, divided once by the number of tokens."""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, Int32, Key

from transformer_jax.attention import sequence_lengths
from transformer_jax.config import PAD_ID, Config
from transformer_jax.machine import return_freed_memory, usable_cores
from transformer_jax.model.dropout import scaled_rates
from transformer_jax.model.transformer import Transformer
from transformer_jax.parallel import (
  backend,
  device_index,
  num_devices,
  num_processes,
  on_devices,
  sum_over_devices,
)
from transformer_jax.training.label_smoothing import summed_cross_entropy
from transformer_jax.training.schedule import dropout_rise
from transformer_jax.training.state import (
  Params,
  Sums,
  TrainState,
  moving_average,
  optimizer,
)

# XLA's compiler keeps about so many cores busy.
_CORES_OF_A_COMPILATION = 2

Count = int | Int32[Array, ""]
# Source and target as `parallel.split_rows` splits them; the shape differs from batch to batch.
ShardedBatch = tuple[
  Int32[Array | np.ndarray, "devices _B _S"], Int32[Array | np.ndarray, "devices _B _T"]
]


def dropout_key(seed: int, step: Count, batch_in_update: Count, device: Count) -> Key[Array, ""]:
  """Returns the key of one device's dropout for one batch of one update.

  It is a pure function of its arguments. The generator is the cheapest of the backend: on a CPU
  threefry, which takes a third of rbg's time, elsewhere the device's own (rbg).
  """
  key = jax.random.key(seed, impl="threefry2x32" if backend() == "cpu" else "rbg")
  for number in (step, batch_in_update, device):
    key = jax.random.fold_in(key, number)
  return key


def loss_sums(
  model: Transformer,
  params: Params,
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
  smoothing: float,
  dropout_rng: Key[Array, ""] | None = None,
  dropout_scale: Float32[Array, ""] | None = None,
) -> tuple[Array, Sums]:
  """Returns (loss summed over target tokens, Sums).

  There is no dropout without `dropout_rng`; `dropout_scale` is a factor of its rates.
  """
  with scaled_rates(dropout_scale):
    outputs: Any = model.apply(
      {"params": params},
      source_BS,
      target_BT,
      deterministic=dropout_rng is None,
      rngs=None if dropout_rng is None else {"dropout": dropout_rng},
      method="before_logits",
    )
  outputs_BTD, matrix_CD, bias_C = outputs
  with jax.named_scope("loss"):
    loss, nll = summed_cross_entropy(outputs_BTD, matrix_CD, target_BT, smoothing, bias_C)
  sums = Sums(
    loss=loss,
    nll=nll,
    source_tokens=jnp.sum(sequence_lengths(source_BS, PAD_ID)),
    target_tokens=jnp.sum(sequence_lengths(target_BT, PAD_ID)),
  )
  return loss, sums


def gradient_sums(
  config: Config,
  model: Transformer,
  params: Params,
  step: Count,
  batch_in_update: Count,
  source_BS: Int32[Array, "B S"],
  target_BT: Int32[Array, "B T"],
) -> tuple[Params, Sums]:
  """Returns gradients and Sums of one batch on one device, neither summed over devices nor divided.

  The gradients are those of the loss, summed over target tokens.
  """
  key = dropout_key(config.train.seed, step, batch_in_update, device_index())
  smoothing = config.train.label_smoothing
  scale = dropout_rise(config.train.dropout_warmup_steps, step)
  loss = lambda params: loss_sums(model, params, source_BS, target_BT, smoothing, key, scale)
  gradients, sums = jax.grad(loss, has_aux=True)(params)
  return gradients, sums


def apply_gradients(config: Config, state: TrainState, gradients: Params, sums: Sums) -> TrainState:
  """Returns the state after one update, from sums over all devices and batches.

  A non-finite loss, gradient or parameter leaves parameters, moments and step as they were and is
  counted.
  """
  tokens = jnp.maximum(sums.target_tokens, 1).astype(jnp.float32)
  gradients = jax.tree.map(lambda gradient: gradient / tokens, gradients)
  grad_norm = optax.tree.norm(gradients)
  with jax.named_scope("optimizer"):
    updates, opt_state = optimizer(config).update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
  # Finite gradients may still give 0 / 0, or a parameter beyond float32.
  are_finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]
  is_finite = _all([jnp.isfinite(grad_norm), jnp.isfinite(sums.loss), *are_finite])
  new_if_finite = functools.partial(jax.tree.map, functools.partial(jnp.where, is_finite))
  ema = None
  if state.ema is not None:
    ema = moving_average(config.train.ema_decay, state.step + 1, state.ema, params)
    ema = new_if_finite(ema, state.ema)
  return state.replace(
    step=state.step + is_finite,
    params=new_if_finite(params, state.params),
    opt_state=new_if_finite(opt_state, state.opt_state),
    grad_norm=grad_norm,
    sums=new_if_finite(jax.tree.map(jnp.add, state.sums, sums), state.sums),
    skipped=state.skipped + ~is_finite,
    skipped_in_a_row=jnp.where(is_finite, 0, state.skipped_in_a_row + 1),
    ema=ema,
  )


def _all(flags: Sequence[Bool[Array, ""]]) -> Bool[Array, ""]:
  """Returns whether all are true, in a form that XLA computes once.

  It copies a plain conjunction into each program that uses it. In an update these are three for
  each parameter array, so that compiling took twice as long and a program held twice the memory.
  """
  return jnp.sort(jnp.stack(flags))[0]


class Progress(NamedTuple):
  """Counters that the host may read after the state was donated to the next update."""

  step: Int32[Array, ""]
  skipped_in_a_row: Int32[Array, ""]


class TrainStep:
  """One update, as a function (replicated state, ShardedBatches) -> (replicated state, Progress).

  Batches of one update may have different shapes. The state that is passed in is donated: it must
  not be used again.

  On several devices an update of one batch is one program, in which the sums over devices hide
  behind the backward pass. Otherwise the gradients of each batch are one, and the optimizer is
  another, which is compiled once for all shapes.

  Args:
    config: the Config.
    model: the model.
  """

  def __init__(self, config: Config, model: Transformer) -> None:
    def gradients(state, batch_in_update, source_BS, target_BT):
      return gradient_sums(
        config, model, state.params, state.step, batch_in_update, source_BS, target_BT
      )

    def add(total, part):
      return jax.tree.map(jnp.add, total, part)

    def finish(state, total):
      gradients, sums = sum_over_devices(total)
      state = apply_gradients(config, state, gradients, sums)
      # Copies, since the next update reuses the memory of the state's own counters.
      return state, Progress(state.step + 0, state.skipped_in_a_row + 0)

    def whole_update(state, source_BS, target_BT):
      return finish(state, gradients(state, 0, source_BS, target_BT))

    self._gradients = on_devices(gradients)
    self._add = on_devices(add, donate=(0,))
    self._finish = on_devices(finish, donate=(0,))
    self._whole_update = on_devices(whole_update, donate=(0,))
    # (one of these four, shapes of its batch) -> program
    self._programs: dict[tuple[Callable, Any], jax.stages.Compiled] = {}

  def __call__(
    self, state: TrainState, batches: Sequence[ShardedBatch]
  ) -> tuple[TrainState, Progress]:
    is_one_program = _is_one_program(len(batches))
    calls = [
      self._call_for(state, number, batch, is_one_program) for number, batch in enumerate(batches)
    ]
    total = self._run(*calls[0])
    if is_one_program:
      return total
    for call in calls[1:]:
      total = self._run(self._add, None, total, self._run(*call))
    return self._run(self._finish, None, state, total)

  def compile_ahead(
    self, state: TrainState, batches: Sequence[ShardedBatch], batches_in_update: int
  ) -> int | None:
    """Compiles the programs for such batches, so that they can be refused before they run.

    On a machine without the cores for several compilations at a time, only those for the first
    batch: the others are compiled when they are needed. So it is on several hosts.

    Args:
      state: the replicated state.
      batches: any batches of these shapes, at least one; the one that needs most memory first.
      batches_in_update: number of batches of an update.

    Returns:
      bytes of a device's memory that an update with the first batch needs besides state and batch,
      None if the backend does not report them.
    """
    is_one_program = _is_one_program(batches_in_update)
    at_once = (usable_cores() or 1) // _CORES_OF_A_COMPILATION
    if at_once < 2 or num_processes() > 1:
      at_once, batches = 1, batches[:1]
    one_of_each_shape = {_shapes(batch): batch for batch in batches}.values()
    calls = [self._call_for(state, 0, batch, is_one_program) for batch in one_of_each_shape]
    if not is_one_program:
      # Gradients have the shapes of parameters.
      calls.append((self._finish, None, state, (state.params, state.sums)))
    compile_one = lambda call: self._program(*call)
    if at_once == 1:
      programs = [compile_one(call) for call in calls]
    else:
      with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        programs = list(pool.map(compile_one, calls))
    first, last = programs[0].memory_analysis(), programs[-1].memory_analysis()
    if first is None or last is None:
      return None
    if is_one_program:
      return _bytes_taken(first)
    gradients = first.output_size_in_bytes
    sum_so_far = gradients if batches_in_update > 1 else 0
    return max(sum_so_far + _bytes_taken(first), gradients + _bytes_taken(last))

  def _call_for(
    self, state: TrainState, number: int, batch: ShardedBatch, is_one_program: bool
  ) -> tuple[Any, ...]:
    """Returns what `_run` needs for a batch: a function, shapes, the function's arguments."""
    if is_one_program:
      return self._whole_update, _shapes(batch), state, *batch
    return self._gradients, _shapes(batch), state, _on_each_device(number, batch), *batch

  def _run(self, function: Any, shapes: Any, *arguments: Any) -> Any:
    """Returns what a function of a batch of these shapes returns.

    On several hosts jax compiles it: a program would expect global arrays, and this host has only
    its shard.
    """
    if num_processes() > 1:
      return function(*arguments)
    return self._program(function, shapes, *arguments)(*arguments)

  def _program(self, function: Any, shapes: Any, *arguments: Any) -> jax.stages.Compiled:
    """Returns the program for such arguments, which is compiled if it is the first one."""
    key = function, shapes
    if key not in self._programs:
      lowered = function.lower(*arguments)
      # What updates freed does not stay beside what the compiler takes, nor the other way round.
      return_freed_memory()
      self._programs[key] = lowered.compile()
      return_freed_memory()
    return self._programs[key]

  def programs(self) -> list[jax.stages.Compiled]:
    """Returns all programs that have been compiled."""
    return list(self._programs.values())


def _is_one_program(batches_in_update: int) -> bool:
  """Returns whether gradients, sums and optimizer are one program."""
  return batches_in_update == 1 and num_devices() > 1


def _bytes_taken(memory: Any) -> int:
  """Returns the bytes that a program takes besides its arguments, from XLA's plan."""
  return memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def _shapes(batch):
  source, target = batch
  return source.shape, target.shape


def _on_each_device(number, batch):
  """Returns the number once for each device of a batch."""
  num_devices = batch[0].shape[0]
  return np.full(num_devices, number, np.int32)


def make_evaluation_step(model: Transformer) -> Callable[..., Sums]:
  """Returns a function (replicated params, sharded source, sharded target) -> replicated Sums.

  The sums are computed without dropout and label smoothing.
  """

  def evaluate(params, source_BS, target_BT):
    _, sums = loss_sums(model, params, source_BS, target_BT, 0.0)
    return sum_over_devices(sums)

  return on_devices(evaluate)


def make_reset() -> Callable[[TrainState], TrainState]:
  """Returns a function that sets the sums of a replicated state, which it donates, to zero."""
  return on_devices(lambda state: state.replace(sums=Sums.zero()), donate=(0,))
