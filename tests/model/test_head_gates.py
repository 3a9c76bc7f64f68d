"""A closed gate is a head that is not there, in training's pass and in decoding's, for all sentences or for one."""

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


def closed(config, attention, layer, head):
  gates = HeadGates.open(config)
  return gates.replace(**{attention: getattr(gates, attention).at[layer, head].set(0.0)})


def test_open_gates_change_nothing(model_and_params):
  model, params = model_and_params
  with_gates = model.apply({"params": params}, SOURCE, TARGET, gates=HeadGates.open(model.config))
  np.testing.assert_array_equal(with_gates, model.apply({"params": params}, SOURCE, TARGET))


@pytest.mark.parametrize("attention", PLACES)
def test_a_closed_gate_is_a_missing_slice_of_w_o(model_and_params, attention):
  model, params = model_and_params
  whole = model.apply({"params": params}, SOURCE, TARGET)
  stack, name = PLACES[attention]
  for layer, head in np.ndindex(2, 4):
    gated = model.apply(
      {"params": params}, SOURCE, TARGET, gates=closed(model.config, attention, layer, head)
    )
    without = jax.tree.map(np.array, params)
    without[stack][f"layer_{layer}"][name]["out"]["kernel"][head] = 0.0
    np.testing.assert_allclose(gated, model.apply({"params": without}, SOURCE, TARGET), atol=1e-6)
    assert np.max(np.abs(gated - whole)) > 1e-3


def test_decoding_step_by_step_passes_the_same_gates(model_and_params):
  model, params = model_and_params
  rng = np.random.default_rng(0)
  gates = HeadGates(*(jnp.asarray(rng.uniform(0, 1, (2, 4)), jnp.float32) for _ in range(3)))
  whole = model.apply({"params": params}, SOURCE, TARGET, gates=gates)
  memory, cache = model.apply({"params": params}, SOURCE, 2, 4, gates, method="start")
  previous = np.zeros(2, np.int32)
  for position in range(4):
    logits, cache = model.apply(
      {"params": params}, np.stack([previous] * 2, 1), position, cache, memory, gates, method="step"
    )
    np.testing.assert_allclose(logits[:, 0], whole[:, position], atol=2e-5)
    previous = TARGET[:, position]


def test_a_gate_of_one_sentence_is_no_other_sentences(model_and_params):
  model, params = model_and_params
  whole = model.apply({"params": params}, SOURCE, TARGET)
  one = closed(model.config, "cross", 1, 2)
  both = jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), one, HeadGates.open(model.config))
  logits = model.apply({"params": params}, SOURCE, TARGET, gates=both)
  np.testing.assert_allclose(logits[1], whole[1], atol=1e-6)
  np.testing.assert_allclose(
    logits[0], model.apply({"params": params}, SOURCE, TARGET, gates=one)[0], atol=1e-6
  )
