"""Tests of the model by effect: causality, padding, the cache, the reference, Table 3's shapes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from transformer_jax.attention import Mask
from transformer_jax.config import Config
from transformer_jax.model.dropout import dropout, keep_multiplier, scaled_rates
from transformer_jax.model.positions import sinusoids
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference import transformer as in_numpy

SOURCE = np.array([[5, 6, 7, 9, 1, 0], [8, 3, 1, 0, 0, 0]], np.int32)
TARGET = np.array([[4, 8, 9, 1], [7, 1, 0, 0]], np.int32)
# Each setting of the architecture is in one of them.
VARIANTS = {
  "paper": {},
  "narrow_keys_untied_learned": dict(
    num_heads=3, d_k=4, d_v=8, embedding_sharing="none", positions="learned", max_positions=16
  ),
  "pre_norm_concatenated_gelu": dict(
    norm="pre", positions="sinusoidal_concatenated", activation="gelu", layer_norm_epsilon=1e-3
  ),
  "target_tied_biased_swish": dict(
    embedding_sharing="target",
    positions="none",
    activation="swish",
    attention_bias=True,
    output_bias=True,
    layer_norm_epsilon=1e-2,
  ),
  "words": dict(task="parsing", data_source="grammar", embedding_sharing="none", positions="words"),
}
# Some tokens of source and target count as words, PAD among those of the target.
MARKS = (bytes([0, 0, 0, 1, 1] * 3)[:12], bytes([1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0]))


def build(**settings):
  """Returns (config, model, params) of a tiny model."""
  tiny = dict(
    num_layers=2,
    d_model=16,
    d_ff=24,
    num_heads=2,
    d_k=8,
    d_v=8,
    attention_kernel="xla",
    max_length=16,
  )
  config = Config().replace(**{**tiny, **settings})
  model = Transformer(config.model, 12, 12, MARKS)
  params = jax.jit(model.init)(jax.random.key(3), SOURCE, TARGET)["params"]
  if config.model.attention_bias:  # biases begin at 0, where they show nothing
    rng = np.random.default_rng(4)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), params)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
  return config, model, params


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(model, params, *args, method=None):
  """Returns `model.apply`, compiled as one program: op by op, each op would be compiled."""
  return model.apply({"params": params}, *args, method=method)


@functools.partial(jax.jit, static_argnums=0)
def start_of_three(model, params, source):
  """Returns (memory, cache) for 3 hypotheses of up to 4 tokens."""
  return model.apply({"params": params}, source, 3, 4, method="start")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
  return build(**VARIANTS[request.param])


def test_logits_are_those_of_the_numpy_loops(variant):
  config, model, params = variant
  logits = apply(model, params, SOURCE, TARGET)
  for b, (padded_source, padded_target) in enumerate(zip(SOURCE, TARGET, strict=True)):
    source = padded_source[padded_source != 0]
    target = padded_target[padded_target != 0]
    cfg = config.model
    expected = in_numpy.transformer(
      jax.device_get(params),
      source,
      target,
      cfg.positions,
      cfg.norm,
      cfg.activation,
      cfg.layer_norm_epsilon,
      MARKS,
    )
    np.testing.assert_allclose(logits[b, : len(target)], expected, atol=3e-5)


def test_one_position_at_a_time_gives_the_same_logits(variant):
  _, model, params = variant
  whole = apply(model, params, SOURCE, TARGET)
  memory, cache = start_of_three(model, params, SOURCE)
  previous = np.zeros(2, np.int32)
  for position in range(4):
    tokens = np.stack([previous] * 3, 1)
    logits, cache = apply(model, params, tokens, position, cache, memory, method="step")
    for hypothesis in range(3):
      np.testing.assert_allclose(logits[:, hypothesis], whole[:, position], atol=2e-5)
    # Hypotheses change slots. Each must go on seeing its own past, which here is the same for all.
    cache = cache.reorder(jnp.array([[2, 0, 0], [1, 1, 2]]))
    previous = TARGET[:, position]


def test_hypotheses_with_different_pasts_keep_them_when_they_change_places(variant):
  _, model, params = variant
  # Three hypotheses of one sentence; the other sentence is not looked at.
  pasts = np.array([[5, 6, 7], [8, 9, 10], [11, 4, 3]], np.int32)
  memory, cache = start_of_three(model, params, SOURCE)

  def step(tokens, position, cache):
    both = np.stack([tokens, tokens])
    return apply(model, params, both, position, cache, memory, method="step")

  _, cache = step(np.zeros(3, np.int32), 0, cache)
  _, cache = step(pasts[:, 0], 1, cache)
  cache = cache.reorder(jnp.array([[2, 2, 0]] * 2))  # slots now hold pasts 2, 2, 0
  # The middle one continues past 2 with past 1's token.
  logits, _ = step(pasts[[2, 1, 0], 1], 2, cache)
  for slot, history in enumerate(([11, 4], [11, 9], [5, 6])):
    target = np.array([[*history, 1, 0]] * 2, np.int32)
    whole = apply(model, params, SOURCE, target)
    np.testing.assert_allclose(logits[0, slot], whole[0, 2], atol=2e-5)


def test_positions_of_words_need_marks():
  config = Config().replace(**VARIANTS["words"]).model
  for marks in ((b"", b""), (MARKS[0], MARKS[1][:-1])):
    with pytest.raises(ValueError, match="needs a mark for each token"):
      jax.eval_shape(Transformer(config, 12, 12, marks).init, jax.random.key(0), SOURCE, TARGET)


def test_no_position_depends_on_later_targets(variant):
  _, model, params = variant

  @jax.jit
  def jacobian(params):
    bound = model.bind({"params": params})
    memory = bound.encode(SOURCE)
    embedded = bound._target_embedding(TARGET)
    outputs = lambda x: bound.decoder(x, memory, Mask(causal=True), Mask())[0]
    return jax.jacobian(lambda x: outputs(x)[0] @ jnp.arange(16.0))(embedded)  # [T, B, T, D]

  influence = np.abs(np.asarray(jacobian(params))[:, 0]).sum(-1)
  assert (influence[np.triu_indices(4, 1)] == 0).all()
  assert (influence[np.tril_indices(4)] > 0).all()


def test_padding_has_no_effect(variant):
  _, model, params = variant
  narrow = apply(model, params, SOURCE, TARGET)
  wide_source = np.pad(SOURCE, ((0, 2), (0, 4)))
  wide_target = np.pad(TARGET, ((0, 2), (0, 3)))
  wide = apply(model, params, wide_source, wide_target)
  np.testing.assert_allclose(wide[:2, :4], narrow, atol=2e-5)
  assert np.isfinite(wide).all()  # rows of nothing but padding, too


def test_kernels_give_the_same_model(variant):
  config, model, params = variant
  reference = Transformer(config.replace(attention_kernel="reference").model, 12, 12, MARKS)
  actual = apply(model, params, SOURCE, TARGET)
  np.testing.assert_allclose(actual, apply(reference, params, SOURCE, TARGET), atol=2e-5)


def test_attention_weights_are_returned_on_request(variant):
  config, model, params = variant
  weights = apply(model, params, SOURCE, TARGET, method="attention_weights")
  assert weights["cross"].shape == (2, 2, config.model.num_heads, 4, 6)
  for name, array in weights.items():
    np.testing.assert_allclose(np.asarray(array).sum(-1), 1, atol=1e-5, err_msg=name)
  assert (np.asarray(weights["cross"])[:, 1, :, :, 3:] == 0).all()


def test_bfloat16_keeps_parameters_and_logits_in_float32():
  _, model, params = build(dtype="bfloat16")
  _, exact_model, _ = build()
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  logits = apply(model, params, SOURCE, TARGET)
  assert logits.dtype == jnp.float32
  exact = apply(exact_model, params, SOURCE, TARGET)
  assert 0 < float(jnp.abs(logits - exact).max()) < 0.15


def test_initial_scale_of_projections_does_not_change_with_heads():
  for heads in (1, 8):
    _, _, params = build(d_model=64, num_heads=heads, d_k=64 // heads, d_v=64 // heads)
    query = params["encoder"]["layer_0"]["self_attention"]["query"]["kernel"]
    assert float(jnp.std(query)) == pytest.approx((2 / (64 + 64)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("d_k, d_v", [(16, 16), pytest.param(8, 32, marks=pytest.mark.slow)])
def test_fused_projections_begin_as_parts_of_one_xavier_matrix(d_k, d_v):
  """With d_k = d_v = D / H they are smaller by the square root of 2; nothing else is."""
  widths = dict(d_model=64, num_heads=4, d_k=d_k, d_v=d_v)
  separate, fused = (build(**widths, attention_init=name)[2] for name in ("separate", "fused"))
  fan_out = 4 * (2 * d_k + d_v)
  of_fused = flatten_dict(fused)
  assert of_fused.keys() == flatten_dict(separate).keys()
  for path, kernel in flatten_dict(separate).items():
    name = path[-2]
    if name in ("query", "key", "value"):
      own_fan_out = 4 * (d_v if name == "value" else d_k)
      assert float(jnp.std(kernel)) == pytest.approx((2 / (64 + own_fan_out)) ** 0.5, rel=0.05)
      assert float(jnp.std(of_fused[path])) == pytest.approx((2 / (64 + fan_out)) ** 0.5, rel=0.05)
    else:
      np.testing.assert_array_equal(of_fused[path], kernel, err_msg=str(path))
  if d_k == d_v:
    query = ("encoder", "layer_0", "self_attention", "query", "kernel")
    whole = flatten_dict(separate)[query]
    np.testing.assert_allclose(of_fused[query] * 2**0.5, whole, rtol=1e-5)


def test_dropout_rate_and_mean():
  multiplier = np.asarray(keep_multiplier(jax.random.key(0, impl="rbg"), (400_000,), 0.1))
  assert (multiplier == 0).mean() == pytest.approx(0.1, abs=0.002)
  assert multiplier.mean() == pytest.approx(1, abs=0.003)


def test_scaled_rates_drop_less_and_keep_the_mean():
  """At scale 1 it is the constant rate, to the bit; at 0 nothing is dropped."""
  key = jax.random.key(0)

  @jax.jit
  def multiplier(scale):
    with scaled_rates(scale):
      return keep_multiplier(key, (400_000,), 0.4)

  constant = np.asarray(keep_multiplier(key, (400_000,), 0.4))
  for scale in (0.0, 0.25, 1.0):
    found = np.asarray(multiplier(jnp.float32(scale)))
    assert (found == 0).mean() == pytest.approx(0.4 * scale, abs=0.003)
    assert found.mean() == pytest.approx(1, abs=0.005)
    assert np.all(constant[found == 0] == 0)
  np.testing.assert_array_equal(found, constant)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_rounds_products_and_not_its_factor(dtype):
  """Checks that what is kept is the number nearest to x / (1 - rate).

  10/9 itself is 0.16% off in bfloat16.
  """

  class Dropped(nn.Module):
    def __call__(self, x):
      return dropout(self, x, 0.1, False)

  x = jax.random.normal(jax.random.key(1), (4000,)).astype(dtype)
  out = Dropped().apply({}, x, rngs={"dropout": jax.random.key(0)})
  factor = np.float32(65536 / (65536 - 6554))
  kept = np.asarray(out) != 0
  assert out.dtype == x.dtype
  assert 0.8 < kept.mean() < 0.95
  exact = np.asarray(x, np.float32) * factor
  np.testing.assert_array_equal(np.asarray(out)[kept], exact.astype(out.dtype)[kept])


def test_first_encodings():
  table = sinusoids(50, 512)
  assert table[7, 4] == pytest.approx(np.sin(7 / 10000 ** (4 / 512)), abs=1e-6)
  assert table[7, 5] == pytest.approx(np.cos(7 / 10000 ** (4 / 512)), abs=1e-6)
  concatenated = sinusoids(50, 512, "sinusoidal_concatenated")
  assert concatenated[7, 255] == pytest.approx(np.sin(7e-4), abs=1e-7)
