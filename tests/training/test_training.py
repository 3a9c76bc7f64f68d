"""Schedule, loss and update against their formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from declared_shapes import assert_as_declared
from trees_close import assert_trees_close, assert_trees_equal

from transformer_jax import parallel
from transformer_jax.config import Config
from transformer_jax.errors import ConfigError
from transformer_jax.model import feed_forward, multi_head_attention
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference.attention import finite_differences
from transformer_jax.reference.training import smoothed_loss
from transformer_jax.reference.transformer import transformer as in_numpy
from transformer_jax.runs.build import check_kernel
from transformer_jax.training import label_smoothing
from transformer_jax.training import step as step_module
from transformer_jax.training.label_smoothing import (
  nll_of_targets,
  sequence_log_probs,
  smoothed_cross_entropy,
  summed_cross_entropy,
)
from transformer_jax.training.schedule import dropout_rise, noam_schedule
from transformer_jax.training.state import initial_state, moving_average
from transformer_jax.training.step import TrainStep, loss_sums, make_reset


def test_schedule_peaks_where_the_paper_says():
  for d_model, peak in ((512, 6.99e-4), (1024, 4.94e-4)):
    rate = noam_schedule(d_model, 4000)
    assert float(rate(4000)) == pytest.approx(peak, rel=2e-3)
    assert float(rate(3999)) < float(rate(4000)) > float(rate(4001))
    assert float(rate(1)) == pytest.approx(d_model**-0.5 * 4000**-1.5, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_in_gather_form_is_the_sum_over_the_distribution(smoothing):
  rng = np.random.default_rng(0)
  logits = rng.standard_normal((2, 3, 7)).astype(np.float32)
  target = rng.integers(0, 7, (2, 3))
  loss, nll = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(target), smoothing)
  log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
  for index in np.ndindex(2, 3):
    labels = np.full(7, smoothing / 6)
    labels[target[index]] = 1 - smoothing
    assert float(loss[index]) == pytest.approx(-(labels * log_probs[index]).sum(), abs=1e-5)
    assert float(nll[index]) == pytest.approx(-log_probs[index][target[index]], abs=1e-5)


TARGET_BT = np.array([[3, 6, 1, 0], [2, 1, 0, 0], [4, 5, 2, 1]], np.int32)


def outputs_and_matrix(dtype):
  """Returns outputs_BTD and matrix_CD for TARGET_BT and 7 classes."""
  rng = np.random.default_rng(0)
  outputs_BTD = jnp.asarray(rng.standard_normal((3, 4, 5)), dtype)
  matrix_CD = jnp.asarray(rng.standard_normal((7, 5)), jnp.float32)
  return outputs_BTD, matrix_CD


def sums_and_gradients(summed, dtype):
  """Returns ((loss, negative log-likelihood), gradients) of a function (outputs, matrix)."""
  function = jax.value_and_grad(summed, (0, 1), has_aux=True)
  return jax.device_get(jax.jit(function)(*outputs_and_matrix(dtype)))


@functools.cache
def sums_and_gradients_of_whole_logits(smoothing, dtype):
  """Returns the same as `sums_and_gradients`, computed from all logits at once."""

  def summed(outputs, matrix):
    rounded = matrix.astype(dtype).astype(jnp.float32)
    logits = jnp.einsum("btd,cd->btc", outputs.astype(jnp.float32), rounded)
    loss_BT, nll_BT = smoothed_cross_entropy(logits, jnp.asarray(TARGET_BT), smoothing)
    return jnp.sum(loss_BT * (TARGET_BT != 0)), jnp.sum(nll_BT * (TARGET_BT != 0))

  return sums_and_gradients(summed, dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [10**9, 40, 7], ids=["whole", "uneven_chunks", "single_rows"])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 3e-2)])
def test_sums_and_gradients_in_chunks_are_those_of_the_logits(
  smoothing, chunk, dtype, tolerance, monkeypatch
):
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  assert_sums_are_those_of_the_logits(smoothing, dtype, tolerance)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 3e-2)])
def test_so_are_those_in_an_accelerator_s_chunks(dtype, tolerance, monkeypatch):
  monkeypatch.setattr(label_smoothing, "backend", lambda: "gpu")
  monkeypatch.setattr(label_smoothing, "_CHUNK_ELSEWHERE", 40)
  assert_sums_are_those_of_the_logits(0.1, dtype, tolerance)


def assert_sums_are_those_of_the_logits(smoothing, dtype, tolerance):
  summed = lambda outputs, matrix: summed_cross_entropy(
    outputs, matrix, jnp.asarray(TARGET_BT), smoothing
  )
  expected = sums_and_gradients_of_whole_logits(smoothing, dtype)
  assert_trees_close(sums_and_gradients(summed, dtype), expected, tolerance, tolerance)
  without_gradients = jax.jit(summed)(*outputs_and_matrix(dtype))
  np.testing.assert_allclose(without_gradients, expected[0], rtol=2e-5)


def test_products_of_a_bfloat16_loss_are_of_bfloat16():
  """In the backward pass too. By themselves they would be float32 products there.

  A GPU takes many times as long for those.
  """
  arguments = [
    jax.ShapeDtypeStruct((2, 3, 5), jnp.bfloat16),
    jax.ShapeDtypeStruct((7, 5), jnp.float32),
    jax.ShapeDtypeStruct((2, 3), jnp.int32),
  ]
  loss = lambda outputs, matrix, target: summed_cross_entropy(outputs, matrix, target, 0.1)[0]
  program = jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).as_text()
  products = [line for line in program.splitlines() if "dot_general" in line]
  assert len(products) == 3
  for line in products:
    operands = line.split(" : ")[1].split(" -> ")[0]
    assert operands.count("bf16") == 2, line


@pytest.mark.parametrize("chunk", [1 << 26, 64])
def test_nll_of_targets_is_that_of_the_logits(chunk, monkeypatch):
  """Values and gradients, in one chunk and in several, the last of them part empty."""
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  target_BT = jnp.array([[3, 4, 1, 0, 0], [5, 6, 7, 8, 1], [0, 0, 0, 0, 0]])
  rng = np.random.default_rng(0)
  outputs_BTD = jnp.asarray(rng.standard_normal((3, 5, 4)), jnp.float32)
  matrix_CD = jnp.asarray(rng.standard_normal((11, 4)), jnp.float32)

  def of_logits(outputs, matrix):
    _, nll_BT = smoothed_cross_entropy(outputs @ matrix.T, target_BT, 0.0)
    return jnp.where(target_BT != 0, nll_BT, 0.0)

  def values_and_gradients(function):
    def summed(outputs, matrix):
      values = function(outputs, matrix)
      return jnp.sum(values), values

    gradient = jax.grad(summed, (0, 1), has_aux=True)
    gradients, values = jax.jit(gradient)(outputs_BTD, matrix_CD)
    return values, gradients

  in_chunks = lambda outputs, matrix: nll_of_targets(outputs, matrix, target_BT)
  values, gradients = values_and_gradients(in_chunks)
  expected_values, expected_gradients = values_and_gradients(of_logits)
  np.testing.assert_allclose(values, expected_values, rtol=1e-5, atol=1e-6)
  assert_trees_close(gradients, expected_gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1 << 26, 64])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_a_bias_is_part_of_the_logits_of_both_losses(chunk, dtype, tolerance, monkeypatch):
  """Values and the gradients of outputs, matrix and bias, in one chunk and in several."""
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  target_BT = jnp.array([[3, 4, 1, 0, 0], [5, 6, 7, 8, 1], [0, 0, 0, 0, 0]])
  rng = np.random.default_rng(0)
  outputs_BTD = jnp.asarray(rng.standard_normal((3, 5, 4)), dtype)
  matrix_CD = jnp.asarray(rng.standard_normal((11, 4)), jnp.float32)
  bias_C = jnp.asarray(rng.standard_normal(11), jnp.float32)

  def of_logits(outputs, matrix, bias):
    rounded = matrix.astype(dtype).astype(jnp.float32)
    logits_BTC = outputs.astype(jnp.float32) @ rounded.T + bias
    loss_BT, nll_BT = smoothed_cross_entropy(logits_BTC, target_BT, 0.1)
    nll_BT = jnp.where(target_BT != 0, nll_BT, 0.0)
    return jnp.sum(jnp.where(target_BT != 0, loss_BT, 0.0)), (nll_BT, jnp.sum(nll_BT))

  def in_chunks(outputs, matrix, bias):
    loss, nll = summed_cross_entropy(outputs, matrix, target_BT, 0.1, bias)
    nll_BT = nll_of_targets(outputs, matrix, target_BT, bias)
    return loss, (nll_BT, nll)

  arguments = (outputs_BTD, matrix_CD, bias_C)
  found = jax.jit(jax.value_and_grad(in_chunks, (0, 1, 2), has_aux=True))(*arguments)
  expected = jax.jit(jax.value_and_grad(of_logits, (0, 1, 2), has_aux=True))(*arguments)
  assert_trees_close(found, expected, tolerance, tolerance)


def test_gradients_of_the_later_settings_are_those_of_the_loops():
  """Every bias, entry by entry; every matrix along one direction, in double precision loops."""
  settings = dict(
    activation="swish", attention_bias=True, output_bias=True, layer_norm_epsilon=1e-2
  )
  tiny = dict(num_layers=1, d_model=4, d_ff=5, num_heads=2, d_k=2, d_v=2, attention_kernel="xla")
  model = Transformer(Config().replace(**tiny, **settings).model, 7, 7)
  source, target = np.array([[3, 5, 4, 1]]), np.array([[6, 4, 1]])
  params = jax.jit(model.init)(jax.random.key(0), source, target)["params"]
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), np.float32), params
  )
  loss = lambda params: loss_sums(model, params, jnp.asarray(source), jnp.asarray(target), 0.1)[0]
  gradients = jax.device_get(jax.jit(jax.grad(loss))(params))
  leaves, tree = jax.tree.flatten(params)

  def loss_in_loops(number, leaf):
    changed = tree.unflatten([*leaves[:number], leaf, *leaves[number + 1 :]])
    logits_TC = in_numpy(changed, source[0], target[0], activation="swish", layer_norm_epsilon=1e-2)
    return smoothed_loss(logits_TC, target[0], 0.1)[0]

  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  assert sum("bias" in path for path in paths) == 4 * 3 + 5 + 2 * 2 + 1
  for number, (path, leaf, gradient) in enumerate(
    zip(paths, leaves, tree.flatten_up_to(gradients), strict=True)
  ):
    if "bias" in path:
      expected = finite_differences(lambda array, number=number: loss_in_loops(number, array), leaf)
      np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=2e-5, err_msg=path)
      continue
    direction = rng.normal(size=leaf.shape)
    along = lambda size, number=number, leaf=leaf, direction=direction: loss_in_loops(
      number, leaf + size[0] * direction
    )
    expected = finite_differences(along, np.zeros(1))[0]
    assert np.vdot(gradient, direction) == pytest.approx(expected, rel=1e-4, abs=2e-5), path


# Models and their programs are shared: most of this file's time goes into compiling them.


@functools.cache
def first_state(config, model):
  """Returns `initial_state` as numpy arrays."""
  state = jax.jit(lambda: initial_state(config, model))()
  assert_as_declared(state)
  return jax.device_get(state)


@functools.cache
def train_step_of(config, model):
  """Returns the one TrainStep for this configuration."""
  return TrainStep(config, model)


def updated(config, model, batches, updates=1, state=None):
  """Returns the state on the host after updates, each of all `batches`."""
  state = parallel.replicate(first_state(config, model) if state is None else state)
  train_step = train_step_of(config, model)
  for _ in range(updates):
    shards = [
      (parallel.shard_rows(source), parallel.shard_rows(target)) for source, target in batches
    ]
    state, _ = train_step(state, shards)
  return parallel.to_host(state)


@pytest.fixture(scope="module")
def setup():
  """Returns (config, model, source, target) of a tiny model without dropout."""
  config = Config().replace(
    num_layers=1,
    d_model=16,
    d_ff=32,
    num_heads=2,
    d_k=8,
    d_v=8,
    attention_kernel="xla",
    dropout_rate=0.0,
    warmup_steps=10,
  )
  model = Transformer(config.model, 20, 20)
  source = np.array([[5, 6, 7, 1], [8, 1, 0, 0], [9, 4, 1, 0], [3, 1, 0, 0]], np.int32)
  target = np.array([[4, 1, 0], [5, 6, 1], [1, 0, 0], [7, 1, 0]], np.int32)
  return config, model, source, target


def test_log_probs_of_sequences_are_sums_over_their_tokens(setup):
  config, model, source, target = setup

  @jax.jit
  def both(params, source, target):
    log_probs_BTC = jax.nn.log_softmax(model.apply({"params": params}, source, target))
    return log_probs_BTC, sequence_log_probs(model, params, source, target)

  log_probs_BTC, found = both(first_state(config, model).params, source, target)
  expected = [
    sum(float(log_probs_BTC[row, place, token]) for place, token in enumerate(tokens) if token)
    for row, tokens in enumerate(target)
  ]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


FAST_CONFIG = Config().replace(num_layers=2, d_model=32, d_ff=64, num_heads=4, d_k=8, d_v=8)


def fast_model(kernel, dtype):
  """Returns the model whose gradients are compared, with a vocabulary of 50."""
  return Transformer(FAST_CONFIG.replace(attention_kernel=kernel, dtype=dtype).model, 50, 50)


@functools.cache
def fast_batch():
  """Returns random source and target of uneven lengths, without EOS."""
  rng = np.random.default_rng(0)
  sides = []
  for _ in range(2):
    is_token = np.arange(12) < rng.integers(3, 13, (6, 1))
    sides.append(np.where(is_token, rng.integers(3, 50, (6, 12)), 0).astype(np.int32))
  return sides


@functools.cache
def fast_params():
  """Returns the parameters, which depend on neither kernel nor dtype."""
  init = jax.jit(fast_model("reference", "float32").init)
  return init(jax.random.key(0), *fast_batch())["params"]


@functools.cache
def plain_gradients(dtype):
  """Returns gradients by the reference kernel, jax's own derivatives, and whole logits."""
  model = fast_model("reference", dtype)
  source, target = map(jnp.asarray, fast_batch())

  def loss(params):
    logits = model.apply({"params": params}, source, target)
    loss_BT, _ = smoothed_cross_entropy(logits, target, 0.1)
    return jnp.sum((target != 0) * loss_BT)

  with pytest.MonkeyPatch.context() as patch:
    for module in (feed_forward, multi_head_attention):
      patch.setattr(module, "dot_general", jax.lax.dot_general)
    return jax.jit(jax.grad(loss))(fast_params())


def largest_relative_error(found, true):
  """Returns the largest norm of a leaf's difference, relative to the leaf's norm."""
  errors = []
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True):
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    errors.append(np.linalg.norm(difference) / np.linalg.norm(np.asarray(other, np.float64)))
  return max(errors)


@pytest.mark.parametrize(
  "kernel, dtype",
  [
    ("blocked", "float32"),
    ("xla", "float32"),
    pytest.param("blocked", "bfloat16", marks=pytest.mark.slow),
  ],
)
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(kernel, dtype, monkeypatch):
  """Fast: the kernel, our gradients of products, the loss in chunks.

  In float32 to 1e-5; in bfloat16 no further from the float32 gradients than the plain path in
  bfloat16 is.
  """
  monkeypatch.setattr(label_smoothing, "_CHUNK", 1000)
  model = fast_model(kernel, dtype)
  source, target = map(jnp.asarray, fast_batch())
  loss = lambda params: loss_sums(model, params, source, target, 0.1)[0]
  fast = jax.jit(jax.grad(loss))(fast_params())
  true = plain_gradients("float32")
  if dtype == "float32":
    limit = 1e-5
  else:
    limit = 1.2 * largest_relative_error(plain_gradients(dtype), true)
  assert largest_relative_error(fast, true) <= limit


@pytest.mark.slow
def test_rematerialization_changes_only_memory(setup):
  """The same parameters, decoding and update with dropout; much less kept for the backward pass."""
  config, _, source, target = setup

  def outcome(is_on):
    cfg = config.replace(dropout_rate=0.3, rematerialize=is_on)
    model = Transformer(cfg.model, 20, 20)
    state = updated(cfg, model, [(source, target)])

    @jax.jit
    def first_logits(params):
      variables = {"params": params}
      memory, cache = model.apply(variables, source, 1, 4, method="start")
      logits, _ = model.apply(variables, source[:, :1], 0, cache, memory, method="step")
      return logits

    return state.params, first_logits(state.params)

  def deep(is_on):
    """Returns the parameters of six layers, and the bytes left for the backward pass.

    XLA's own plan does not tell: on a CPU it joins the two passes and undoes it.
    """
    cfg = config.replace(num_layers=6, rematerialize=is_on)
    model = Transformer(cfg.model, 20, 20)
    tokens = jnp.ones((64, 32), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
    loss = lambda params: loss_sums(model, params, tokens, tokens, 0.1)[0]
    residuals = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    return params, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals))

  assert_trees_close(outcome(True), outcome(False), atol=1e-5)
  params, kept_bytes = deep(True)
  plain_params, plain_bytes = deep(False)
  assert jax.tree.structure(params) == jax.tree.structure(plain_params)
  assert kept_bytes < plain_bytes / 4


def test_two_batches_of_one_update_are_one_large_batch(setup):
  config, model, source, target = setup
  whole = updated(config, model, [(source, target)])
  parts = updated(config, model, [(source[:1], target[:1]), (source[1:, :3], target[1:])])
  assert_trees_close(whole.opt_state, parts.opt_state, atol=1e-7)
  assert int(parts.sums.target_tokens) == int(whole.sums.target_tokens) == 8
  assert int(parts.step) == 1


def test_first_update_moves_each_parameter_by_the_learning_rate(setup):
  """Adam's first bias-corrected step is lr * g / (|g| + eps), whatever the size of g."""
  config, model, source, target = setup
  bias_of = lambda state: state.params["encoder"]["layer_0"]["feed_forward"]["outer"]["bias"]
  moved = bias_of(updated(config, model, [(source, target)])) - bias_of(first_state(config, model))
  learning_rate = float(noam_schedule(16, 10)(1))
  np.testing.assert_allclose(np.abs(moved), learning_rate, rtol=1e-3)


def test_padding_rows_and_columns_change_nothing(setup):
  config, model, source, target = setup
  wide = np.pad(source, ((0, 3), (0, 5))), np.pad(target, ((0, 3), (0, 2)))
  narrow_state = updated(config, model, [(source, target)])
  wide_state = updated(config, model, [wide])
  assert float(narrow_state.sums.loss) == pytest.approx(float(wide_state.sums.loss), rel=1e-6)
  assert_trees_close(narrow_state.opt_state, wide_state.opt_state, atol=1e-7)


def test_a_non_finite_update_leaves_everything_but_the_counters(setup):
  config, model, source, target = setup
  broken = jax.tree.map(np.array, first_state(config, model))
  broken.params["shared_embedding"]["embedding"][5] = np.nan
  after = updated(config, model, [(source, target)], updates=2, state=broken)
  assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (0, 2, 2)
  assert_trees_equal(
    (after.params, after.opt_state, after.sums), (broken.params, broken.opt_state, broken.sums)
  )
  # A batch without the broken word among its inputs still meets it in the softmax.
  other = np.where(source == 5, 6, source)
  assert int(updated(config, model, [(other, target)], state=broken).skipped) == 1


def test_the_check_for_non_finite_values_is_not_copied_into_each_selection(setup):
  """A conjunction of n flags in each of n selections is most of a program, and of its compiling."""
  config, model, source, target = setup
  train_step = train_step_of(config, model)
  state = parallel.replicate(first_state(config, model))
  batch = parallel.shard_rows(source), parallel.shard_rows(target)
  train_step.compile_ahead(state, [batch], batches_in_update=1)
  num_arrays = len(jax.tree.leaves(state.params))
  for program in train_step.programs():
    assert program.as_text().count(" and(") < num_arrays**2


def test_dropout_is_a_function_of_seed_and_step(setup):
  config, _, source, target = setup
  config = config.replace(dropout_rate=0.3)
  model = Transformer(config.model, 20, 20)
  batches = [(source, target)]
  one = updated(config, model, batches)
  two = updated(config, model, batches, updates=2)
  assert_trees_equal(two, updated(config, model, batches, updates=2))
  same_start = first_state(config, model)
  other_seed = updated(config.replace(seed=2), model, batches, state=same_start)
  assert float(one.sums.loss) != float(other_seed.sums.loss)
  # Another step, another mask.
  assert float(two.sums.loss) - float(one.sums.loss) != float(one.sums.loss)


def test_the_moving_average_is_the_weighted_mean_of_the_parameters(setup):
  """Of those after each update; the first parameters have no weight, skipped updates neither."""
  config, model, source, target = setup
  averaged = config.replace(ema_decay=0.8)
  batches = [(source, target)]
  each = [updated(config, model, batches, count).params for count in (1, 2, 3)]
  state = updated(averaged, model, batches, 3)
  assert_trees_equal(state.params, each[-1])
  weights = np.array([0.8**2, 0.8, 1.0])
  shares = np.float32(weights / weights.sum())
  mean = lambda *leaves: np.tensordot(shares, np.stack(leaves), 1)
  assert_trees_close(state.ema, jax.tree.map(mean, *each), atol=1e-6)
  assert state.params_in_use is state.ema
  broken = jax.tree.map(np.array, state)
  broken.params["shared_embedding"]["embedding"][5] = np.nan
  after = updated(averaged, model, batches, state=broken)
  assert int(after.skipped) == 1
  assert_trees_equal(after.ema, state.ema)
  plain = updated(config, model, batches, 3)
  assert plain.ema is None and plain.params_in_use is plain.params


def test_a_moving_average_with_almost_no_decay_begins_with_the_first_update():
  """Where decay^updates is 1 in float32."""
  first, second = {"x": jnp.float32(3.0)}, {"x": jnp.float32(5.0)}
  mean = moving_average(0.999999, jnp.int32(1), {"x": jnp.float32(100.0)}, first)
  assert float(mean["x"]) == pytest.approx(3, rel=1e-5)
  assert float(moving_average(0.999999, jnp.int32(2), mean, second)["x"]) == pytest.approx(4)


@pytest.mark.parametrize("settings", [{}, dict(rematerialize=True, accumulation_steps=2)])
@pytest.mark.slow
def test_dropout_rises_from_nothing_to_its_rate(setup, settings, monkeypatch):
  """The first update has none, that after the rise all of it; one program serves them all."""
  plain, _, source, target = setup
  rates = dict(dropout_rate=0.4, attention_dropout_rate=0.3, relu_dropout_rate=0.2)
  rates["attention_kernel"] = "reference"
  plain = plain.replace(attention_kernel="reference", **settings)
  constant = plain.replace(**rates)
  rising = constant.replace(dropout_warmup_steps=4)
  batches = [(source, target)] * plain.data.accumulation_steps
  traced = []

  def noted(warmup_steps, updates_done):
    traced.append(warmup_steps)
    return dropout_rise(warmup_steps, updates_done)

  monkeypatch.setattr(step_module, "dropout_rise", noted)

  def loss_at(config, step):
    state = jax.tree.map(np.array, first_state(config, Transformer(config.model, 20, 20)))
    state = state.replace(step=np.int32(step))
    return float(updated(config, Transformer(config.model, 20, 20), batches, 1, state).sums.loss)

  assert loss_at(rising, 0) == pytest.approx(loss_at(plain, 0), rel=1e-6)
  losses = [loss_at(rising, step) for step in (2, 4, 9)]
  assert losses[1:] == pytest.approx([loss_at(constant, 4), loss_at(constant, 9)], rel=1e-6)
  assert abs(losses[0] - loss_at(constant, 2)) > 1e-4
  assert traced.count(4) == 1


@pytest.mark.slow
def test_attention_dropout_is_a_function_of_the_seed_in_each_kernel(setup):
  """The kernels drop the same weights; `xla` cannot, and is refused by name."""
  config, model, source, target = setup
  batches = [(source, target)]
  losses = {}
  for kernel in ("reference", "blocked", "auto"):
    cfg = config.replace(attention_dropout_rate=0.3, attention_kernel=kernel)
    check_kernel(cfg)
    dropped = Transformer(cfg.model, 20, 20)
    losses[kernel] = float(updated(cfg, dropped, batches, updates=2).sums.loss)
  assert losses["auto"] == losses["reference"] == pytest.approx(losses["blocked"], rel=1e-5)
  without = float(updated(config, model, batches, updates=2).sums.loss)
  assert abs(losses["reference"] - without) > 1e-3
  with pytest.raises(ConfigError, match=r"^--attention_kernel=xla: it has no dropout on attention"):
    check_kernel(config.replace(attention_dropout_rate=0.3))


def test_reset_clears_only_the_running_sums(setup):
  config, model, source, target = setup
  state = updated(config, model, [(source, target)])
  reset = parallel.to_host(make_reset()(parallel.replicate(state)))
  assert int(reset.sums.target_tokens) == 0 and float(reset.sums.loss) == 0.0
  assert_trees_equal(reset.params, state.params)


@pytest.mark.parametrize(
  "cores, programs, batches_in_update",
  [(4, 3, 1), (4, 3, 2), (2, 2, 1)],
)
@pytest.mark.slow
def test_programs_made_side_by_side_are_those_made_when_they_are_needed(
  cores, programs, batches_in_update, setup, monkeypatch
):
  """One for each shape of a batch, and the optimizer's."""
  config, model, source, target = setup
  monkeypatch.setattr(step_module, "usable_cores", lambda: cores)
  batches = [
    (parallel.shard_rows(source[:rows]), parallel.shard_rows(target[:rows])) for rows in (2, 1)
  ]
  groups = [[batch] for batch in batches] if batches_in_update == 1 else [batches]
  states = []
  for is_ahead in (True, False):
    train_step = TrainStep(config, model)
    state = parallel.replicate(initial_state(config, model))
    if is_ahead:
      train_step.compile_ahead(state, batches, batches_in_update)
      assert len(train_step.programs()) == programs
    for group in groups:
      state, _ = train_step(state, group)
    states.append(parallel.to_host(state))
  assert_trees_equal(*states)


def test_one_program_and_two_do_the_same_update(setup, monkeypatch):
  """One is for several devices; on one device the optimizer has its own. Rounding may differ."""
  config, model, source, target = setup
  after_two = updated(config, model, [(source, target)], updates=2)
  monkeypatch.setattr(step_module, "num_devices", lambda: 2)
  after_one = updated(config, model, [(source, target)], updates=2)
  assert_trees_close(after_two, after_one, rtol=1e-4, atol=1e-6)
