"""Schedule, loss and update against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import parallel
from transformer_jax.config import Config
from transformer_jax.model import feed_forward, multi_head_attention
from transformer_jax.model.transformer import Transformer
from transformer_jax.training import label_smoothing
from transformer_jax.training.label_smoothing import (
  nll_of_targets,
  smoothed_cross_entropy,
  summed_cross_entropy,
)
from transformer_jax.training.schedule import noam_schedule
from transformer_jax.training.state import initial_state
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
  logits, target = rng.standard_normal((2, 3, 7)).astype(np.float32), rng.integers(0, 7, (2, 3))
  loss, nll = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(target), smoothing)
  log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
  for index in np.ndindex(2, 3):
    labels = np.full(7, smoothing / 6)
    labels[target[index]] = 1 - smoothing
    assert float(loss[index]) == pytest.approx(-(labels * log_probs[index]).sum(), abs=1e-5)
    assert float(nll[index]) == pytest.approx(-log_probs[index][target[index]], abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [10**9, 40, 7], ids=["whole", "uneven_chunks", "single_rows"])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 3e-2)])
def test_sums_and_gradients_in_chunks_are_those_of_the_logits(
  smoothing, chunk, dtype, tolerance, monkeypatch
):
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  rng = np.random.default_rng(0)
  target_BT = jnp.array([[3, 6, 1, 0], [2, 1, 0, 0], [4, 5, 2, 1]])
  outputs_BTD, matrix_CD = (
    jnp.asarray(rng.standard_normal((3, 4, 5)), dtype),
    jnp.asarray(rng.standard_normal((7, 5)), jnp.float32),
  )

  def of_logits(outputs, matrix):
    logits = jnp.einsum(
      "btd,cd->btc", outputs.astype(jnp.float32), matrix.astype(dtype).astype(jnp.float32)
    )
    loss_BT, nll_BT = smoothed_cross_entropy(logits, target_BT, smoothing)
    return jnp.sum(loss_BT * (target_BT != 0)), jnp.sum(nll_BT * (target_BT != 0))

  ours, theirs = (
    jax.value_and_grad(f, (0, 1), has_aux=True)(outputs_BTD, matrix_CD)
    for f in (lambda o, m: summed_cross_entropy(o, m, target_BT, smoothing), of_logits)
  )
  for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    assert mine.dtype == other.dtype
    np.testing.assert_allclose(
      np.asarray(mine, np.float32), np.asarray(other, np.float32), atol=tolerance, rtol=tolerance
    )
  np.testing.assert_allclose(
    summed_cross_entropy(outputs_BTD, matrix_CD, target_BT, smoothing), theirs[0], rtol=2e-5
  )


def test_products_of_a_bfloat16_loss_are_of_bfloat16():
  """In the backward pass too, where they would be float32 products by themselves: a GPU takes many times as long for those."""
  shapes = [
    jax.ShapeDtypeStruct(s, d)
    for s, d in (((2, 3, 5), jnp.bfloat16), ((7, 5), jnp.float32), ((2, 3), jnp.int32))
  ]
  gradient = jax.grad(lambda o, m, t: summed_cross_entropy(o, m, t, 0.1)[0], (0, 1))
  products = [
    line
    for line in jax.jit(gradient).lower(*shapes).as_text().splitlines()
    if "dot_general" in line
  ]
  assert len(products) == 3
  for line in products:
    assert line.split(" : ")[1].split(" -> ")[0].count("bf16") == 2, line


@pytest.fixture(scope="module")
def setup():
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


@pytest.mark.parametrize("chunk", [1 << 26, 64])
def test_nll_of_targets_is_that_of_the_logits(chunk, monkeypatch):
  """Values and gradients, in one chunk and in several, the last of them part empty."""
  monkeypatch.setattr(label_smoothing, "_CHUNK", chunk)
  keys = jax.random.split(jax.random.key(0), 2)
  outputs_BTD, matrix_CD = (
    jax.random.normal(keys[0], (3, 5, 4)),
    jax.random.normal(keys[1], (11, 4)),
  )
  target_BT = np.array([[3, 4, 1, 0, 0], [5, 6, 7, 8, 1], [0, 0, 0, 0, 0]], np.int32)
  expected = lambda o, m: jnp.where(
    target_BT != 0, smoothed_cross_entropy(o @ m.T, target_BT, 0.0)[1], 0.0
  )
  np.testing.assert_allclose(
    nll_of_targets(outputs_BTD, matrix_CD, target_BT),
    expected(outputs_BTD, matrix_CD),
    rtol=1e-5,
    atol=1e-6,
  )
  ours, theirs = (
    jax.grad(lambda o, m, f=f: jnp.sum(f(o, m)), (0, 1))(outputs_BTD, matrix_CD)
    for f in (lambda o, m: nll_of_targets(o, m, target_BT), expected)
  )
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  "kernel, dtype", [("blocked", "float32"), ("xla", "float32"), ("blocked", "bfloat16")]
)
def test_gradients_of_the_fast_path_are_those_of_the_plain_one(kernel, dtype, monkeypatch):
  """Fast: the kernel, our gradients of products, the loss in chunks. Plain: the reference kernel, jax's derivatives, whole logits.

  In float32 to 1e-5; in bfloat16 no further from the float32 gradients than the plain path in bfloat16 is.
  """
  config = Config().replace(
    num_layers=2,
    d_model=32,
    d_ff=64,
    num_heads=4,
    d_k=8,
    d_v=8,
    attention_kernel=kernel,
    dtype=dtype,
  )
  model = lambda **settings: Transformer(config.replace(**settings).model, 50, 50)
  rng = np.random.default_rng(0)
  source, target = (
    np.where(np.arange(12) < rng.integers(3, 13, (6, 1)), rng.integers(3, 50, (6, 12)), 0)
    for _ in range(2)
  )
  params = model().init(jax.random.key(0), source, target)["params"]

  def plain(dtype):
    module = model(attention_kernel="reference", dtype=dtype)
    losses = lambda p: smoothed_cross_entropy(
      module.apply({"params": p}, source, target), target, 0.1
    )[0]
    return jax.jit(jax.grad(lambda p: jnp.sum((target != 0) * losses(p))))(params)

  def error(found, true):
    return max(
      float(jnp.linalg.norm(f - t) / jnp.linalg.norm(t))
      for f, t in zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True)
    )

  monkeypatch.setattr(label_smoothing, "_CHUNK", 1000)
  fast = jax.jit(jax.grad(lambda p: loss_sums(model(), p, source, target, 0.1)[0]))(params)
  for module in (feed_forward, multi_head_attention):
    monkeypatch.setattr(module, "dot_general", jax.lax.dot_general)
  true = plain("float32")
  assert error(fast, true) <= (1e-5 if dtype == "float32" else 1.2 * error(plain(dtype), true))


@pytest.mark.slow
def test_rematerialization_changes_memory_alone(setup):
  """The same parameters, decoding and update with dropout; and much less is kept for the backward pass."""
  config, _, source, target = setup

  def outcome(**settings):
    cfg = config.replace(dropout_rate=0.2, num_layers=2, **settings)
    model = Transformer(cfg.model, 20, 20)
    state = updated(cfg, model, [(source, target)])
    memory, cache = model.apply({"params": state.params}, source, 1, 4, method="start")
    logits, _ = model.apply(
      {"params": state.params}, source[:, :1], 0, cache, memory, method="step"
    )
    return state.params, logits

  for ours, theirs in zip(
    *(jax.tree.leaves(outcome(rematerialize=on)) for on in (True, False)), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)

  def kept_bytes(on):
    """What the forward pass leaves for the backward pass; on a CPU XLA joins the two and undoes it, so its own plan does not tell."""
    cfg = config.replace(num_layers=6, rematerialize=on)
    model = Transformer(cfg.model, 20, 20)
    params = jax.eval_shape(lambda: initial_state(cfg, model)).params
    tokens = np.ones((64, 32), np.int32)
    pull = jax.eval_shape(
      lambda p: jax.vjp(lambda p: loss_sums(model, p, tokens, tokens, 0.1)[0], p)[1], params
    )
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pull))

  assert kept_bytes(True) < kept_bytes(False) / 4


def updated(config, model, batches, updates=1, state=None):
  state = parallel.replicate(initial_state(config, model) if state is None else state)
  train_step = TrainStep(config, model)
  for _ in range(updates):
    state, _ = train_step(
      state, [(parallel.shard_rows(s), parallel.shard_rows(t)) for s, t in batches]
    )
  return parallel.to_host(state)


def test_two_batches_of_one_update_are_one_large_batch(setup):
  config, model, source, target = setup
  whole = updated(config, model, [(source, target)])
  parts = updated(config, model, [(source[:1], target[:1]), (source[1:, :3], target[1:])])
  for a, b in zip(jax.tree.leaves(whole.opt_state), jax.tree.leaves(parts.opt_state), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-7)
  assert int(parts.sums.target_tokens) == int(whole.sums.target_tokens) == 8
  assert int(parts.step) == 1


def test_first_update_moves_each_parameter_by_the_learning_rate(setup):
  """Adam's first bias-corrected step is lr * g / (|g| + eps), whatever the size of g."""
  config, model, source, target = setup
  before = jax.device_get(initial_state(config, model).params)
  after = updated(config, model, [(source, target)]).params
  moved = np.abs(
    after["encoder"]["layer_0"]["feed_forward"]["outer"]["bias"]
    - before["encoder"]["layer_0"]["feed_forward"]["outer"]["bias"]
  )
  np.testing.assert_allclose(moved, float(noam_schedule(16, 10)(1)), rtol=1e-3)


def test_padding_rows_and_columns_change_nothing(setup):
  config, model, source, target = setup
  wide = np.pad(source, ((0, 3), (0, 5))), np.pad(target, ((0, 3), (0, 2)))
  a, b = updated(config, model, [(source, target)]), updated(config, model, [wide])
  assert float(a.sums.loss) == pytest.approx(float(b.sums.loss), rel=1e-6)
  for x, y in zip(jax.tree.leaves(a.opt_state), jax.tree.leaves(b.opt_state), strict=True):
    np.testing.assert_allclose(x, y, atol=1e-7)


def test_a_non_finite_update_leaves_everything_but_the_counters(setup):
  config, model, source, target = setup
  state = jax.device_get(initial_state(config, model))
  broken = jax.tree.map(np.array, state)
  broken.params["shared_embedding"]["embedding"][5] = np.nan
  after = updated(config, model, [(source, target)], updates=2, state=broken)
  assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (0, 2, 2)
  for x, y in zip(
    jax.tree.leaves((after.params, after.opt_state, after.sums)),
    jax.tree.leaves((broken.params, broken.opt_state, broken.sums)),
    strict=True,
  ):
    np.testing.assert_array_equal(x, y)
  other = np.where(
    source == 5, 6, source
  )  # a batch without the broken word's input still meets it in the softmax
  assert int(updated(config, model, [(other, target)], state=broken).skipped) == 1


def test_dropout_is_a_function_of_seed_and_step(setup):
  config, _, source, target = setup
  config = config.replace(dropout_rate=0.3)
  model = Transformer(config.model, 20, 20)
  first, again = (updated(config, model, [(source, target)], updates=2) for _ in range(2))
  other_seed = updated(
    config.replace(seed=2), model, [(source, target)], state=initial_state(config, model)
  )  # the same start
  for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
    np.testing.assert_array_equal(x, y)
  one = updated(config, model, [(source, target)])
  assert float(one.sums.loss) != float(other_seed.sums.loss)
  assert float(first.sums.loss) - float(one.sums.loss) != float(
    one.sums.loss
  )  # another step, another mask


def test_reset_clears_only_the_running_sums(setup):
  config, model, source, target = setup
  state = updated(config, model, [(source, target)])
  reset = parallel.to_host(make_reset()(parallel.replicate(state)))
  assert int(reset.sums.target_tokens) == 0 and float(reset.sums.loss) == 0.0
  for x, y in zip(jax.tree.leaves(reset.params), jax.tree.leaves(state.params), strict=True):
    np.testing.assert_array_equal(x, y)
