"""Every kernel of the table against a NumPy loop of Section 3.2.1: values, gradients, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.attention import (
  KERNELS,
  Mask,
  Use,
  blocked,
  cached_attention,
  fastest_kernel,
  kernels,
  reference_weights,
)

ON_CPU = [name for name in KERNELS if KERNELS[name].why_not(Use("cpu", "float32", 8, 8)) is None]


def attention_by_loop(query, key, value, allowed):
  """Softmax(Q K^T / sqrt(d_k)) V, one example, head, query and key at a time, in float64."""
  out = np.zeros((*query.shape[:3], value.shape[-1]))
  for b, t, h in np.ndindex(*query.shape[:3]):
    scores = [
      float(np.dot(query[b, t, h], key[b, s, h])) / np.sqrt(query.shape[-1])
      if allowed[b, t, s]
      else -1e300
      for s in range(key.shape[1])
    ]
    weights = np.exp(np.array(scores) - max(scores))
    weights /= weights.sum()
    for s, weight in enumerate(weights):
      out[b, t, h] += weight * value[b, s, h]
  return out


def draw(batch, num_queries, num_keys, heads, d_k, d_v, seed=0):
  rng = np.random.default_rng(seed)
  shapes = (
    (batch, num_queries, heads, d_k),
    (batch, num_keys, heads, d_k),
    (batch, num_keys, heads, d_v),
  )
  return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


MASKS = {
  "none": lambda batch, t, s: Mask(),
  "causal": lambda batch, t, s: Mask(causal=True),
  "lengths": lambda batch, t, s: Mask(key_lengths_B=jnp.arange(1, batch + 1) * s // batch),
  "causal_lengths": lambda batch, t, s: Mask(
    causal=True, key_lengths_B=jnp.arange(1, batch + 1) * s // batch
  ),
  "segments": lambda batch, t, s: Mask(
    query_segments_BT=jnp.broadcast_to(jnp.arange(t) // 3, (batch, t)),
    key_segments_BS=jnp.broadcast_to(jnp.arange(s) // 3, (batch, s)),
  ),
  "all_masked_rows": lambda batch, t, s: Mask(key_lengths_B=jnp.zeros(batch, jnp.int32)),
}


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("mask_name", MASKS)
@pytest.mark.parametrize("d_k,d_v", [(8, 8), (4, 8), (8, 3)])
def test_values_are_those_of_the_loop(name, mask_name, d_k, d_v):
  query, key, value = draw(3, 7, 7, 2, d_k, d_v)
  mask = MASKS[mask_name](3, 7, 7)
  allowed = np.broadcast_to(mask.dense(7, 7), (3, 7, 7))
  expected = attention_by_loop(query, key, value, allowed)
  if mask_name == "all_masked_rows":  # uniform weights, not NaN
    expected = np.broadcast_to(value.mean(1, keepdims=True), expected.shape)
  np.testing.assert_allclose(KERNELS[name].attend(query, key, value, mask), expected, atol=2e-6)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("length", [1, 2, 31, 64, 127, 300])
def test_lengths_from_one_to_three_hundred(name, length):
  query, key, value = draw(1, length, length, 1, 4, 4, seed=length)
  mask = Mask(causal=True)
  expected = attention_by_loop(query, key, value, np.asarray(mask.dense(length, length)))
  np.testing.assert_allclose(KERNELS[name].attend(query, key, value, mask), expected, atol=3e-6)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("mask_name", MASKS)
def test_gradients_are_those_of_finite_differences_of_the_loop(name, mask_name):
  query, key, value = draw(2, 3, 3, 2, 4, 3)
  mask = MASKS[mask_name](2, 3, 3)
  allowed = np.broadcast_to(mask.dense(3, 3), (2, 3, 3))
  if mask_name == "all_masked_rows":
    pytest.skip("the loop gives no weights there; values are checked above")
  direction = np.random.default_rng(1).standard_normal((2, 3, 2, 3))
  loss = lambda q, k, v: jnp.sum(KERNELS[name].attend(q, k, v, mask) * direction)
  gradients = jax.grad(loss, argnums=(0, 1, 2))(query, key, value)
  for which, gradient in enumerate(gradients):
    args = [x.astype(np.float64) for x in (query, key, value)]
    for index in np.ndindex(args[which].shape):
      step = np.zeros_like(args[which])
      step[index] = 1e-5
      plus, minus = list(args), list(args)
      plus[which], minus[which] = args[which] + step, args[which] - step
      slope = (
        np.sum((attention_by_loop(*plus, allowed) - attention_by_loop(*minus, allowed)) * direction)
        / 2e-5
      )
      np.testing.assert_allclose(gradient[index], slope, atol=2e-5)


@pytest.mark.parametrize("mask_name", [*MASKS, "dense", "dense_for_all"])
@pytest.mark.parametrize(
  "block, queries, batch",
  [(1, 2, 4), (60, 3, 4), (400, 100, 4), (400, 100, 5)],
  ids=["blocks_of_queries", "uneven_blocks", "blocks_of_examples", "a_prime_number_of_examples"],
)
@pytest.mark.parametrize(
  "dtype, tolerance", [("float32", 2e-6), pytest.param("bfloat16", 0.06, marks=pytest.mark.slow)]
)
def test_blocks_change_nothing(mask_name, block, queries, batch, dtype, tolerance, monkeypatch):
  """Values and gradients of the blocked kernel, cut into blocks of queries and of examples, are the reference's."""
  monkeypatch.setattr(blocked, "_BLOCK", block)
  monkeypatch.setattr(blocked, "_FEWEST_QUERIES", queries)
  allowed = np.random.default_rng(3).random((batch, 7, 9)) < 0.5
  dense = dict(
    dense=Mask(allowed_BTS=jnp.asarray(allowed)),
    dense_for_all=Mask(causal=True, allowed_BTS=jnp.asarray(allowed[:1])),
  )
  mask = dense[mask_name] if mask_name in dense else MASKS[mask_name](batch, 9, 9)
  num_queries = 7 if mask_name in dense else 9
  query, key, value = (jnp.asarray(x, dtype) for x in draw(batch, num_queries, 9, 2, 6, 5))
  slope = jnp.asarray(np.random.default_rng(1).standard_normal((*query.shape[:3], 5)), dtype)

  def values_and_gradients(name):
    values, pull = jax.vjp(lambda *x: KERNELS[name].attend(*x, mask), query, key, value)
    return values, *pull(slope)

  for ours, theirs in zip(
    values_and_gradients("blocked"), values_and_gradients("reference"), strict=True
  ):
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(
      np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=tolerance
    )


def test_a_prime_number_of_examples_is_not_taken_one_by_one():
  most = [blocked._examples_at_once(batch, 50) for batch in (53, 97, 101, 40, 50, 100, 1)]
  assert most == [27, 49, 34, 40, 50, 50, 1]
  assert blocked._examples_at_once(7, 0) == 1


def test_the_scale_of_the_blocked_kernel_is_not_rounded():
  """1 / sqrt(24) is off in bfloat16; each scaled query is the nearest number to the exact one."""
  query = jnp.asarray(draw(1, 5, 1, 1, 24, 1)[0], "bfloat16")
  scaled = blocked.scaled(query)
  assert scaled.dtype == query.dtype
  exact = np.asarray(query, np.float64) / np.sqrt(24)
  np.testing.assert_array_equal(scaled, exact.astype(query.dtype))


def test_memory_of_the_blocked_kernel_is_linear_in_length():
  """Forward and backward at T = 2048 and 4096: twice the memory, where the reference takes four times as much."""

  def temporary_bytes(name, length):
    shape = jax.ShapeDtypeStruct((1, length, 8, 16), jnp.float32)
    loss = lambda q, k, v: (
      KERNELS[name].attend(q, k, v, Mask(causal=True, key_lengths_B=jnp.full(1, length - 3))).sum()
    )
    return (
      jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
      .lower(shape, shape, shape)
      .compile()
      .memory_analysis()
      .temp_size_in_bytes
    )

  assert temporary_bytes("reference", 4096) > 3.5 * temporary_bytes("reference", 2048)
  assert temporary_bytes("blocked", 4096) < 2.2 * temporary_bytes("blocked", 2048)
  assert temporary_bytes("blocked", 4096) < temporary_bytes("reference", 4096) / 4


def test_weights_sum_to_one_and_padding_gets_none():
  query, key, _ = draw(2, 5, 6, 3, 4, 4)
  weights = np.asarray(reference_weights(query, key, Mask(key_lengths_B=jnp.array([6, 2]))))
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
  assert (weights[1, :, :, 2:] == 0).all() and (weights[1, :, :, :2] > 0).all()


def test_cached_layout_gives_the_same():
  query, key, value = draw(2, 3, 5, 2, 4, 6)
  mask = Mask(key_lengths_B=jnp.array([5, 3]))
  cached = cached_attention(query, key.swapaxes(1, 2), value.swapaxes(1, 2), mask)
  np.testing.assert_allclose(
    cached, KERNELS["reference"].attend(query, key, value, mask), atol=1e-6
  )


def test_dropout_multiplies_the_weights():
  query, key, value = draw(1, 2, 3, 1, 4, 4)
  kept = np.array([[[[1.0, 0, 1], [0, 0, 0]]]], np.float32)
  out = KERNELS["reference"].attend(query, key, value, Mask(), kept)
  weights = np.asarray(reference_weights(query, key, Mask()))[0, 0] * kept[0, 0]
  np.testing.assert_allclose(out[0, :, 0], weights @ value[0, :, 0], atol=1e-6)


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu", "other"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_fastest_kernel_can_serve(backend, dtype):
  for dropout in (False, True):
    use = Use(backend, dtype, 16, 64, attention_dropout=dropout)
    for heads, queries, keys in ((1, 1, 1), (8, 17, 40), (32, 5000, 3000)):
      assert KERNELS[fastest_kernel(use, heads, queries, keys)].why_not(use) is None


def test_the_fastest_kernel_is_that_of_the_nearest_shape(monkeypatch):
  rows = [
    dict(num_heads=1, length=32, kernel="xla"),
    dict(num_heads=8, length=32, kernel="reference"),
    dict(num_heads=8, length=512, kernel="blocked"),
  ]
  monkeypatch.setattr(kernels, "_measured", lambda: {"cpu float32": dict(fastest=rows)})
  use = Use("cpu", "float32", 64, 64)
  assert [
    fastest_kernel(use, *shape)
    for shape in ((1, 20, 20), (2, 32, 32), (4, 32, 32), (16, 16, 100), (8, 100, 4000))
  ] == ["xla", "xla", "reference", "reference", "blocked"]
  assert (
    fastest_kernel(Use("cpu", "float32", 64, 64, attention_dropout=True), 1, 20, 20) == "reference"
  )
  unmeasured = Use("tpu", "float32", 64, 64)
  assert [fastest_kernel(u, 8, n, n) for u in (use, unmeasured) for n in (30, 2047, 4096)] == [
    "reference",
    "blocked",
    "blocked",
    "xla",
    "xla",
    "blocked",
  ]


def test_kernels_are_refused_with_a_reason():
  for use, reason in (
    (Use("cpu", "bfloat16", 64, 64), "NVIDIA"),
    (Use("gpu", "float32", 64, 64), "bfloat16"),
  ):
    assert reason in KERNELS["cudnn"].why_not(use)
