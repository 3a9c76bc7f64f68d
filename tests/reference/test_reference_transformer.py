"""Tests of properties that the NumPy model has with any parameters."""

import numpy as np
import pytest

from transformer_jax.reference import layers, positions
from transformer_jax.reference.transformer import transformer

D, F, H, K, V, C = 6, 9, 3, 2, 4, 11  # d_model, d_ff, heads, d_k, d_v, vocabulary
RNG = np.random.default_rng(3)


def norm():
  return {"scale": RNG.normal(size=D), "bias": RNG.normal(size=D)}


def attention_parameters():
  shapes = dict(query=(D, H, K), key=(D, H, K), value=(D, H, V), out=(H, V, D))
  return {name: {"kernel": RNG.normal(size=shape)} for name, shape in shapes.items()}


def layer(decoder):
  feed_forward = {
    "inner": {"kernel": RNG.normal(size=(D, F)), "bias": RNG.normal(size=F)},
    "outer": {"kernel": RNG.normal(size=(F, D)), "bias": RNG.normal(size=D)},
  }
  parts = dict(
    self_attention=attention_parameters(),
    self_attention_norm=norm(),
    feed_forward=feed_forward,
    feed_forward_norm=norm(),
  )
  if decoder:
    parts.update(cross_attention=attention_parameters(), cross_attention_norm=norm())
  return parts


def stack(decoder):
  return {"layer_0": layer(decoder), "layer_1": layer(decoder), "final_norm": norm()}


def model():
  return {
    "encoder": stack(decoder=False),
    "decoder": stack(decoder=True),
    "shared_embedding": {"embedding": RNG.normal(size=(C, D))},
  }


@pytest.mark.parametrize("norm_place", ["post", "pre"])
def test_a_target_position_sees_only_what_stands_before_it(norm_place):
  params, source_S, target_T = model(), [3, 4, 5, 1], np.array([6, 7, 8, 9, 1])
  logits_TC = transformer(params, source_S, target_T, norm=norm_place)
  assert logits_TC.shape == (5, C)
  for t in range(5):
    changed_T = target_T.copy()
    changed_T[t] = 10
    changed_TC = transformer(params, source_S, changed_T, norm=norm_place)
    difference_T = np.abs(changed_TC - logits_TC).max(axis=1)
    assert np.all(difference_T[: t + 1] == 0)
    assert np.all(difference_T[t + 1 :] > 0)


def test_source_padding_changes_nothing_and_a_source_token_does():
  params = model()
  logits_TC = transformer(params, [3, 4, 1], [5, 1])
  np.testing.assert_allclose(transformer(params, [3, 4, 1, 0, 0], [5, 1]), logits_TC, rtol=1e-12)
  assert np.abs(transformer(params, [3, 5, 1], [5, 1]) - logits_TC).max() > 1e-3


def test_positions_decide_whether_source_order_matters():
  params = model()
  for kind, same in (("none", True), ("sinusoidal", False), ("sinusoidal_concatenated", False)):
    logits_TC = transformer(params, [3, 4, 7], [5, 1], positions=kind)
    reordered_TC = transformer(params, [7, 3, 4], [5, 1], positions=kind)
    assert np.allclose(logits_TC, reordered_TC) == same


def test_layer_norm_by_hand():
  # Mean 3, variance 4.
  x_TD = np.array([[1.0, 5.0]])
  parameters = {"scale": np.array([10.0, 10.0]), "bias": np.array([1.0, 0.0])}
  result_TD = layers.layer_norm(x_TD, parameters)
  np.testing.assert_allclose(result_TD, [[-9, 10]], rtol=1e-5)


def test_feed_forward_by_hand():
  parameters = {
    "inner": {"kernel": np.array([[1.0, -1.0]]), "bias": np.array([0.5, 0.5])},
    "outer": {"kernel": np.array([[2.0], [3.0]]), "bias": np.array([1.0])},
  }
  # max(0, 2.5) * 2 + max(0, -1.5) * 3 + 1; then max(0, -1.5) * 2 + max(0, 2.5) * 3 + 1
  result_TD = layers.feed_forward(np.array([[2.0], [-2.0]]), parameters)
  np.testing.assert_allclose(result_TD, [[6.0], [8.5]])


def test_post_and_pre_norm():
  x_TD = np.array([[1.0, 5.0]])
  double = lambda x: 2 * x
  unit = {"scale": np.ones(2), "bias": np.zeros(2)}
  np.testing.assert_allclose(layers.residual(x_TD, double, unit), [[-1, 1]], rtol=1e-5)
  np.testing.assert_allclose(
    layers.residual(x_TD, double, unit, layers.Choices("pre")), [[-1, 7]], rtol=1e-5
  )


def test_positional_encoding_by_hand():
  table_LD = positions.positional_encoding(3, 4)
  np.testing.assert_allclose(table_LD[0], [0, 1, 0, 1])
  np.testing.assert_allclose(table_LD[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)])
  concatenated_LD = positions.concatenated_positional_encoding(3, 4)
  np.testing.assert_allclose(concatenated_LD[2], [np.sin(2), np.sin(2e-4), np.cos(2), np.cos(2e-4)])


def test_rotation_moves_every_position_by_the_offset():
  table_LD = positions.positional_encoding(12, 8)
  np.testing.assert_allclose(table_LD[:7] @ positions.rotation(5, 8).T, table_LD[5:], atol=1e-12)
