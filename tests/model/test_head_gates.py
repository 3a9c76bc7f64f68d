"""Tests that a closed gate removes a head, in training and decoding, for all sentences or one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.model.head_gates import HeadGates
from transformer_jax.model.transformer import Transformer

SOURCE = np.array([[5, 6, 7, 9, 1, 0], [8, 3, 1, 0, 0, 0]], np.int32)
TARGET = np.array([[4, 8, 9, 1], [7, 1, 0, 0]], np.int32)
PLACES = {
  "encoder": ("encoder", "self_attention"),
  "decoder": ("decoder", "self_attention"),
  "cross": ("decoder", "cross_attention"),
}


@pytest.fixture(scope="module")
def model_and_params():
  config = Config().replace(
    num_layers=2, d_model=16, d_ff=24, num_heads=4, d_k=5, d_v=3, attention_kernel="xla"
  )
  model = Transformer(config.model, 12, 12)
  return model, jax.jit(model.init)(jax.random.key(3), SOURCE, TARGET)["params"]


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(model, params, *args, method=None, gates=None):
  return model.apply({"params": params}, *args, method=method, gates=gates)


def closed(config, attention, layer, head):
  gates = HeadGates.open(config)
  return gates.replace(**{attention: getattr(gates, attention).at[layer, head].set(0.0)})


def test_open_gates_change_nothing(model_and_params):
  model, params = model_and_params
  gates = HeadGates.open(model.config)
  with_gates = model.apply({"params": params}, SOURCE, TARGET, gates=gates)
  np.testing.assert_array_equal(with_gates, model.apply({"params": params}, SOURCE, TARGET))


@pytest.mark.parametrize("attention", PLACES)
def test_a_closed_gate_is_a_missing_slice_of_w_o(model_and_params, attention):
  model, params = model_and_params
  whole = apply(model, params, SOURCE, TARGET)
  stack, name = PLACES[attention]
  for layer, head in np.ndindex(2, 4):
    gates = closed(model.config, attention, layer, head)
    gated = apply(model, params, SOURCE, TARGET, gates=gates)
    without = jax.tree.map(np.array, params)
    without[stack][f"layer_{layer}"][name]["out"]["kernel"][head] = 0.0
    np.testing.assert_allclose(gated, apply(model, without, SOURCE, TARGET), atol=1e-6)
    assert np.max(np.abs(gated - whole)) > 1e-3


def test_what_is_no_head_is_named(model_and_params):
  gates = HeadGates.open(model_and_params[0].config)
  for heads in (("cross", 0, 1), ["cross"], [("cross", 0)]):
    with pytest.raises(ValueError, match=r"is no head: give a list of \(attention, layer, head\)"):
      gates.without(heads)


def test_decoding_step_by_step_passes_the_same_gates(model_and_params):
  model, params = model_and_params
  rng = np.random.default_rng(0)
  gates = HeadGates(*(jnp.asarray(rng.uniform(0, 1, (2, 4)), jnp.float32) for _ in range(3)))
  whole = apply(model, params, SOURCE, TARGET, gates=gates)
  memory, cache = model.apply({"params": params}, SOURCE, 2, 4, gates, method="start")
  previous = np.zeros(2, np.int32)
  for position in range(4):
    tokens = np.stack([previous] * 2, 1)
    logits, cache = apply(
      model, params, tokens, position, cache, memory, method="step", gates=gates
    )
    np.testing.assert_allclose(logits[:, 0], whole[:, position], atol=2e-5)
    previous = TARGET[:, position]


def test_a_gate_of_one_sentence_changes_no_other_sentence(model_and_params):
  model, params = model_and_params
  whole = apply(model, params, SOURCE, TARGET)
  one = closed(model.config, "cross", 1, 2)
  both = jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), one, HeadGates.open(model.config))
  logits = apply(model, params, SOURCE, TARGET, gates=both)
  np.testing.assert_allclose(logits[1], whole[1], atol=1e-6)
  expected = apply(model, params, SOURCE, TARGET, gates=one)
  np.testing.assert_allclose(logits[0], expected[0], atol=1e-6)
