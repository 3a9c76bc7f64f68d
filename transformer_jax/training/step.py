"""One update: gradients summed over devices and batches, divided once by the number of target tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transformer_jax.attention import sequence_lengths
from transformer_jax.config import PAD_ID
from transformer_jax.parallel import (
  backend,
  device_index,
  num_processes,
  on_devices,
  sum_over_devices,
)
from transformer_jax.training.label_smoothing import summed_cross_entropy
from transformer_jax.training.state import Sums, optimizer


def dropout_key(seed, step, batch_in_update, device):
  """The key of one device's dropout for one batch of one update: a pure function of its arguments.

  The generator is what is cheap here: threefry on a CPU, where it takes a third of rbg's time, elsewhere the device's own (rbg).
  """
  key = jax.random.key(seed, impl="threefry2x32" if backend() == "cpu" else "rbg")
  for number in (step, batch_in_update, device):
    key = jax.random.fold_in(key, number)
  return key


def loss_sums(model, params, source_BS, target_BT, smoothing, dropout_rng=None):
  """(sum of the loss over target tokens, Sums); without an rng, without dropout."""
  rngs = None if dropout_rng is None else {"dropout": dropout_rng}
  outputs_BTD, matrix_CD = model.apply(
    {"params": params},
    source_BS,
    target_BT,
    deterministic=dropout_rng is None,
    rngs=rngs,
    method="before_logits",
  )
  with jax.named_scope("loss"):
    loss, nll = summed_cross_entropy(outputs_BTD, matrix_CD, target_BT, smoothing)
  return loss, Sums(
    loss=loss,
    nll=nll,
    source_tokens=jnp.sum(sequence_lengths(source_BS, PAD_ID)),
    target_tokens=jnp.sum(sequence_lengths(target_BT, PAD_ID)),
  )


def gradient_sums(config, model, params, step, batch_in_update, source_BS, target_BT):
  """(gradients, Sums) of one batch on one device, neither summed over devices nor divided yet."""
  key = dropout_key(config.train.seed, step, batch_in_update, device_index())
  loss = lambda p: loss_sums(model, p, source_BS, target_BT, config.train.label_smoothing, key)
  gradients, sums = jax.grad(loss, has_aux=True)(params)
  return gradients, sums


def apply_gradients(config, state, gradients, sums):
  """The state after one update from sums over all devices and batches.

  A non-finite loss, gradient or parameter leaves parameters, moments and step as they were and is
  counted.
  """
  tokens = jnp.maximum(sums.target_tokens, 1).astype(jnp.float32)
  gradients = jax.tree.map(lambda g: g / tokens, gradients)
  grad_norm = optax.tree.norm(gradients)
  with jax.named_scope("optimizer"):
    updates, opt_state = optimizer(config).update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
  is_finite = jnp.isfinite(grad_norm) & jnp.isfinite(sums.loss)
  for leaf in jax.tree.leaves(params):  # 0 / 0, or beyond float32, where the gradients are finite
    is_finite &= jnp.all(jnp.isfinite(leaf))
  keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(is_finite, n, o), new, old)
  return state.replace(
    step=state.step + is_finite,
    params=keep(params, state.params),
    opt_state=keep(opt_state, state.opt_state),
    grad_norm=grad_norm,
    sums=keep(jax.tree.map(jnp.add, state.sums, sums), state.sums),
    skipped=state.skipped + ~is_finite,
    skipped_in_a_row=jnp.where(is_finite, 0, state.skipped_in_a_row + 1),
  )


class TrainStep:
  """A function (replicated state, [(source, target), ...] sharded) -> (replicated state, Progress), for one update.

  Batches of one update may have different shapes. The state that is passed in is donated: it must not be used again.
  `is_poisoned`: the first device's gradients are NaN, to see that such an update changes nothing on any.
  """

  def __init__(self, config, model, is_poisoned=False):

    def finish(state, total):
      if is_poisoned:
        gradients, sums = total
        total = (
          jax.tree.map(lambda g: g * jnp.where(device_index() == 0, jnp.nan, 1.0), gradients),
          sums,
        )
      state = apply_gradients(config, state, *sum_over_devices(total))
      return state, Progress(state.step + 0, state.skipped_in_a_row + 0)

    def whole_update(state, source_BS, target_BT):
      return finish(
        state, gradient_sums(config, model, state.params, state.step, 0, source_BS, target_BT)
      )

    def add_batch(total, state, batch_in_update, source_BS, target_BT):
      part = gradient_sums(
        config, model, state.params, state.step, batch_in_update, source_BS, target_BT
      )
      return jax.tree.map(jnp.add, total, part)

    def start(state):
      return jax.tree.map(jnp.zeros_like, state.params), Sums.zero()

    self._whole_update, self._finish = (
      on_devices(whole_update, donate=(0,)),
      on_devices(finish, donate=(0,)),
    )
    self._add_batch, self._start = on_devices(add_batch, donate=(0,)), on_devices(start)
    self._ahead = {}  # shapes of a batch -> program that was compiled ahead

  def __call__(self, state, batches):
    if len(batches) == 1:
      return self._best(self._whole_update, batches[0])(state, *batches[0])
    total = self._start(state)
    for number, batch in enumerate(batches):
      total = self._best(self._add_batch, batch)(
        total, state, _on_each_device(number, batch), *batch
      )
    return self._finish(state, total)

  def compile_ahead(self, state, batch, is_whole_update):
    """Compiles what is done with one batch of this shape, so that it can be refused before it runs.

    Returns:
      bytes of a device's memory that it needs besides state and batch, None where the backend does not say.
    """
    if is_whole_update:
      lowered = self._whole_update.lower(state, *batch)
    else:
      lowered = self._add_batch.lower(self._start(state), state, _on_each_device(0, batch), *batch)
    program = self._ahead[_shapes(batch)] = lowered.compile()
    memory = program.memory_analysis()
    return (
      None
      if memory is None
      else memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    )

  def _best(self, function, batch):
    """What was compiled ahead, but on several hosts: there it wants arrays of all of them, not this one's part."""
    return (self.program(batch) if num_processes() == 1 else None) or function

  def program(self, batch):
    """What was compiled ahead for such a batch, or None."""
    return self._ahead.get(_shapes(batch))

  def programs(self):
    """All that was compiled ahead."""
    return list(self._ahead.values())


def _shapes(batch):
  return batch[0].shape, batch[1].shape


def _on_each_device(number, batch):
  return np.full(batch[0].shape[0], number, np.int32)


class Progress(NamedTuple):
  """What the host may look at while the state, which is donated, moves on."""

  step: jax.Array
  skipped_in_a_row: jax.Array


def make_evaluation_step(model):
  """A function (replicated params, source, target sharded) -> replicated Sums, without dropout and smoothing."""

  def evaluate(params, source_BS, target_BT):
    return sum_over_devices(loss_sums(model, params, source_BS, target_BT, 0.0)[1])

  return on_devices(evaluate)


def make_reset():
  """A function that sets the running sums of a replicated state to zero; the state passed in is donated."""
  return on_devices(lambda state: state.replace(sums=Sums.zero()), donate=(0,))
