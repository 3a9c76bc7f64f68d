"""Tests of every kernel of the table against the NumPy reference: values, gradients, masks."""

import functools

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
from transformer_jax.errors import ConfigError
from transformer_jax.model.dropout import keep_multiplier
from transformer_jax.reference import attention as in_numpy

ON_CPU = [name for name in KERNELS if KERNELS[name].why_not(Use("cpu", "float32", 8, 8)) is None]

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


def draw(batch, num_queries, num_keys, heads, d_k, d_v, seed=0):
  """Returns random queries, keys and values, float32."""
  rng = np.random.default_rng(seed)
  shapes = (
    (batch, num_queries, heads, d_k),
    (batch, num_keys, heads, d_k),
    (batch, num_keys, heads, d_v),
  )
  return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def in_one_program(function, examples):
  """Returns name -> function(*args), compiled as one program: quicker than one for each."""
  call_all = lambda examples: {name: function(*args) for name, args in examples.items()}
  return jax.jit(call_all)(examples)


def attend_in_numpy(query_BTHK, key_BSHK, value_BSHV, mask):
  """Returns the reference's output for each head of each example, float64."""
  batch, num_queries, num_heads, _ = query_BTHK.shape
  num_keys, _, d_v = value_BSHV.shape[1:]
  allowed_BTS = np.broadcast_to(mask.dense(num_queries, num_keys), (batch, num_queries, num_keys))
  arrays = [np.asarray(array, np.float64) for array in (query_BTHK, key_BSHK, value_BSHV)]
  heads_BTHV = np.zeros((batch, num_queries, num_heads, d_v))
  for b, h in np.ndindex(batch, num_heads):
    of_head = (array[b, :, h] for array in arrays)
    heads_BTHV[b, :, h] = in_numpy.attention(*of_head, allowed_BTS[b])
  return heads_BTHV


@functools.cache
def values_by_mask(name, d_k, d_v):
  """Returns the name of a mask -> a kernel's output under it."""
  arrays = draw(3, 7, 7, 2, d_k, d_v)
  examples = {mask_name: (*arrays, make_mask(3, 7, 7)) for mask_name, make_mask in MASKS.items()}
  return in_one_program(KERNELS[name].attend, examples)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("mask_name", MASKS)
@pytest.mark.parametrize("d_k,d_v", [(8, 8), (4, 8), (8, 3)])
def test_values_are_those_of_the_loop(name, mask_name, d_k, d_v):
  query, key, value = draw(3, 7, 7, 2, d_k, d_v)
  expected = attend_in_numpy(query, key, value, MASKS[mask_name](3, 7, 7))
  if mask_name == "all_masked_rows":  # uniform weights, not NaN
    uniform = np.broadcast_to(np.mean(value, 1, keepdims=True), expected.shape)
    np.testing.assert_allclose(expected, uniform, atol=1e-6)
  np.testing.assert_allclose(values_by_mask(name, d_k, d_v)[mask_name], expected, atol=2e-6)


LENGTHS = (1, 2, 31, 64, 127, 300)


def causal_example(length):
  """Returns (query, key, value, mask)."""
  return *draw(1, length, length, 1, 4, 4, seed=length), Mask(causal=True)


@functools.cache
def expected_of_length(length):
  """Returns the reference's output."""
  return attend_in_numpy(*causal_example(length))


@functools.cache
def values_by_length(name):
  """Returns length -> a kernel's output."""
  examples = {length: causal_example(length) for length in LENGTHS}
  return in_one_program(KERNELS[name].attend, examples)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_from_one_to_three_hundred(name, length):
  actual = values_by_length(name)[length]
  np.testing.assert_allclose(actual, expected_of_length(length), atol=3e-6)


DIRECTION = np.random.default_rng(1).standard_normal((2, 3, 2, 3))  # of gradients, [B, T, H, V]


@functools.cache
def finite_differences(mask_name):
  """Returns the gradients of the reference's output along DIRECTION by query, key and value."""
  mask = MASKS[mask_name](2, 3, 3)
  arrays = draw(2, 3, 3, 2, 4, 3)
  gradients = []
  for place, array in enumerate(arrays):

    def loss(changed, place=place):
      args = [*arrays[:place], changed, *arrays[place + 1 :]]
      return np.sum(attend_in_numpy(*args, mask) * DIRECTION)

    gradients.append(in_numpy.finite_differences(loss, array))
  return gradients


@functools.cache
def gradients_by_mask(name):
  """Returns the name of a mask -> the gradients of a kernel's output along DIRECTION."""

  def gradients(query, key, value, mask):
    loss = lambda *arrays: jnp.sum(KERNELS[name].attend(*arrays, mask) * DIRECTION)
    return jax.grad(loss, argnums=(0, 1, 2))(query, key, value)

  arrays = draw(2, 3, 3, 2, 4, 3)
  examples = {mask_name: (*arrays, make_mask(2, 3, 3)) for mask_name, make_mask in MASKS.items()}
  return in_one_program(gradients, examples)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("mask_name", MASKS)
def test_gradients_are_those_of_finite_differences_of_the_loop(name, mask_name):
  gradients = gradients_by_mask(name)[mask_name]
  for gradient, expected in zip(gradients, finite_differences(mask_name), strict=True):
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def masked_example(mask_name, batch, dtype):
  """Returns (direction, query, key, value, mask) with 9 keys."""
  allowed = jnp.asarray(np.random.default_rng(3).random((batch, 7, 9)) < 0.5)
  if mask_name == "dense":
    num_queries, mask = 7, Mask(allowed_BTS=allowed)
  elif mask_name == "dense_for_all":
    num_queries, mask = 7, Mask(causal=True, allowed_BTS=allowed[:1])
  else:
    num_queries, mask = 9, MASKS[mask_name](batch, 9, 9)
  arrays = [x.astype(dtype) for x in draw(batch, num_queries, 9, 2, 6, 5)]
  direction = np.random.default_rng(1).standard_normal((batch, num_queries, 2, 5))
  return jnp.asarray(direction, dtype), *arrays, mask


BLOCK_MASKS = [*MASKS, "dense", "dense_for_all"]


@functools.cache
def values_and_gradients(name, batch, dtype, block=blocked._BLOCK, queries=64, dropout=False):
  """Returns the name of a mask -> (a kernel's output, its three gradients)."""

  def of_example(direction, query, key, value, mask):
    shape = (batch, 2, query.shape[1], key.shape[1])
    multiplier = keep_multiplier(jax.random.key(5), shape, 0.3) if dropout else None
    attend = lambda *x: KERNELS[name].attend(*x, mask, multiplier)
    values, pull = jax.vjp(attend, query, key, value)
    return values, *pull(direction)

  examples = {mask_name: masked_example(mask_name, batch, dtype) for mask_name in BLOCK_MASKS}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(blocked, "_BLOCK", block)
    patch.setattr(blocked, "_FEWEST_QUERIES", queries)
    return in_one_program(of_example, examples)


def assert_blocks_change_nothing(batch, dtype, tolerance, block, queries, dropout, mask_name):
  """Compares values and gradients of the blocked kernel with those of the reference."""
  ours = values_and_gradients("blocked", batch, dtype, block, queries, dropout=dropout)[mask_name]
  theirs = values_and_gradients("reference", batch, dtype, dropout=dropout)[mask_name]
  for actual, expected in zip(ours, theirs, strict=True):
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(
      np.asarray(actual, np.float32), np.asarray(expected, np.float32), atol=tolerance
    )


@pytest.mark.parametrize("mask_name", BLOCK_MASKS)
@pytest.mark.parametrize(
  "block, queries, batch",
  [(1, 2, 4), (60, 3, 4), (400, 100, 4), (400, 100, 5)],
  ids=["blocks_of_queries", "uneven_blocks", "blocks_of_examples", "a_prime_number_of_examples"],
)
@pytest.mark.parametrize(
  "dtype, tolerance", [("float32", 2e-6), pytest.param("bfloat16", 0.06, marks=pytest.mark.slow)]
)
def test_blocks_change_nothing(mask_name, block, queries, batch, dtype, tolerance):
  """Checks values and gradients of the blocked kernel, in blocks of queries and of examples."""
  assert_blocks_change_nothing(batch, dtype, tolerance, block, queries, False, mask_name)


@pytest.mark.parametrize("mask_name", BLOCK_MASKS)
@pytest.mark.parametrize(
  "block, queries",
  [(blocked._BLOCK, 64), (60, 3), (400, 100)],
  ids=["one_block", "blocks_of_queries", "blocks_of_examples"],
)
@pytest.mark.parametrize(
  "dtype, tolerance", [("float32", 3e-6), pytest.param("bfloat16", 0.06, marks=pytest.mark.slow)]
)
def test_dropped_weights_are_those_of_the_reference(mask_name, block, queries, dtype, tolerance):
  """The blocked kernel with the same factors of the weights: values and gradients."""
  assert_blocks_change_nothing(5, dtype, tolerance, block, queries, True, mask_name)


def test_a_prime_number_of_examples_is_not_taken_one_by_one():
  most = [blocked._examples_at_once(batch, 50) for batch in (53, 97, 101, 40, 50, 100, 1)]
  assert most == [27, 49, 34, 40, 50, 50, 1]
  assert blocked._examples_at_once(7, 0) == 1


def test_the_scale_of_the_blocked_kernel_is_not_rounded():
  """Checks that each scaled query is the nearest number to the exact one.

  1 / sqrt(24) itself is not exact in bfloat16.
  """
  query = jnp.asarray(draw(1, 5, 1, 1, 24, 1)[0], "bfloat16")
  scaled = blocked.scaled(query)
  assert scaled.dtype == query.dtype
  exact = np.asarray(query, np.float64) / np.sqrt(24)
  np.testing.assert_array_equal(scaled, exact.astype(query.dtype))


def test_memory_of_the_blocked_kernel_is_linear_in_length():
  """Compares T = 2048 and 4096: twice the memory, where the reference takes four times as much."""

  def temporary_bytes(name, length):
    mask = Mask(causal=True, key_lengths_B=jnp.full(1, length - 3))
    shape = jax.ShapeDtypeStruct((1, length, 8, 16), jnp.float32)
    loss = lambda q, k, v: KERNELS[name].attend(q, k, v, mask).sum()
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    compiled = gradients.lower(shape, shape, shape).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  reference, reference_of_double = (temporary_bytes("reference", t) for t in (2048, 4096))
  blocks, blocks_of_double = (temporary_bytes("blocked", t) for t in (2048, 4096))
  assert reference_of_double > 3.5 * reference
  assert blocks_of_double < 2.2 * blocks
  assert blocks_of_double < reference_of_double / 4


def test_weights_sum_to_one_and_padding_gets_none():
  query, key, _ = draw(2, 5, 6, 3, 4, 4)
  weights = np.asarray(reference_weights(query, key, Mask(key_lengths_B=jnp.array([6, 2]))))
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
  assert (weights[1, :, :, 2:] == 0).all()
  assert (weights[1, :, :, :2] > 0).all()


def test_cached_layout_gives_the_same():
  query, key, value = draw(2, 3, 5, 2, 4, 6)
  mask = Mask(key_lengths_B=jnp.array([5, 3]))
  cached = cached_attention(query, key.transpose(0, 2, 3, 1), value.swapaxes(1, 2), mask)
  expected = KERNELS["reference"].attend(query, key, value, mask)
  np.testing.assert_allclose(cached, expected, atol=1e-6)


def test_dropout_multiplies_the_weights():
  query, key, value = draw(1, 2, 3, 1, 4, 4)
  multiplier = jnp.array([[[[1.0, 0, 1], [0, 0, 0]]]], jnp.float32)
  out = KERNELS["reference"].attend(query, key, value, Mask(), multiplier)
  weights = np.asarray(reference_weights(query, key, Mask()) * multiplier)[0, 0]
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
  assert fastest_kernel(use, 1, 20, 20) == "xla"
  assert fastest_kernel(use, 2, 32, 32) == "xla"
  assert fastest_kernel(use, 4, 32, 32) == "reference"
  assert fastest_kernel(use, 16, 16, 100) == "reference"
  assert fastest_kernel(use, 8, 100, 4000) == "blocked"
  with_dropout = Use("cpu", "float32", 64, 64, attention_dropout=True)
  assert fastest_kernel(with_dropout, 8, 512, 512) == "reference"
  assert fastest_kernel(with_dropout, 8, 4096, 4096) == "reference"
  by_length = lambda use: [fastest_kernel(use, 8, length, length) for length in (30, 2047, 4096)]
  assert by_length(use) == ["reference", "blocked", "blocked"]
  unmeasured = Use("tpu", "float32", 64, 64)
  assert by_length(unmeasured) == ["xla", "xla", "blocked"]


def test_a_kernel_that_cannot_serve_gives_way_to_the_next_of_its_shape(monkeypatch):
  rows = [
    dict(num_heads=8, length=32, kernel="fused", others=["xla", "cudnn", "reference"]),
    dict(num_heads=8, length=512, kernel="cudnn", others=["xla", "reference"]),
  ]
  monkeypatch.setattr(kernels, "_measured", lambda: {"gpu bfloat16": dict(fastest=rows)})
  choose = lambda d_k, length: fastest_kernel(Use("gpu", "bfloat16", d_k, d_k), 8, length, length)
  assert choose(64, 32) == choose(64, 64) == "fused"
  assert choose(64, 65) == choose(128, 32) == choose(512, 32) == "xla"
  assert choose(64, 500) == choose(128, 500) == "cudnn"
  assert choose(512, 500) == "xla"


def test_the_environment_can_choose_for_auto(monkeypatch):
  use = Use("gpu", "bfloat16", 64, 64)
  monkeypatch.setenv("TRANSFORMER_JAX_AUTO_KERNEL", "blocked")
  assert fastest_kernel(use, 8, 32, 32) == "blocked"
  monkeypatch.setenv("TRANSFORMER_JAX_AUTO_KERNEL", "cudnn")
  assert fastest_kernel(use, 8, 32, 32) == "cudnn"
  assert fastest_kernel(Use("cpu", "float32", 64, 64), 8, 32, 32) != "cudnn"
  monkeypatch.setenv("TRANSFORMER_JAX_AUTO_KERNEL", "fast")
  with pytest.raises(ConfigError, match="TRANSFORMER_JAX_AUTO_KERNEL=fast"):
    fastest_kernel(use, 8, 32, 32)


def test_kernels_are_refused_with_a_reason():
  why_not = KERNELS["cudnn"].why_not
  assert "NVIDIA" in why_not(Use("cpu", "bfloat16", 64, 64))
  assert "bfloat16" in why_not(Use("gpu", "float32", 64, 64))
  with_dropout = Use("gpu", "bfloat16", 64, 64, attention_dropout=True)
  for name in ("xla", "cudnn", "fused"):
    assert "no dropout on attention weights" in KERNELS[name].why_not(with_dropout)
    with pytest.raises(ValueError, match="no dropout on attention weights"):
      KERNELS[name].attend(*draw(1, 2, 2, 1, 8, 8), Mask(), jnp.ones((1, 1, 2, 2)))
