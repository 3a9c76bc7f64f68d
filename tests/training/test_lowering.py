"""The update and the beam search are lowered for TPUs and GPUs, on a machine that has none.

What cannot be lowered for them shows here. cuDNN's kernel is left out: jax asks for its version.
"""

import jax
import jax.export
import jax.numpy as jnp
import pytest

from transformer_jax import parallel
from transformer_jax.attention import KERNELS, Use
from transformer_jax.config import Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.runs.search import make_search
from transformer_jax.training import step as step_module
from transformer_jax.training.state import initial_state

# There jax would ask for the kernels of that GPU alone.
pytestmark = pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU is here")

EVERYWHERE = [
  (kernel, dtype)
  for kernel in KERNELS
  for dtype in ("float32", "bfloat16")
  if KERNELS[kernel].why_not(Use("tpu", dtype, 64, 64)) is None
]


def lowered(function, *args):
  """Returns the text of the program for both."""
  return jax.export.export(jax.jit(function), platforms=["tpu", "cuda"])(*args).mlir_module()


def tokens(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.int32)


def base(kernel, dtype):
  """Returns the paper's base model with one of its six layers, and its config."""
  config = Config().replace(num_layers=1, attention_kernel=kernel, dtype=dtype)
  return config, Transformer(config.model, 37_000, 37_000)


@pytest.mark.parametrize("kernel, dtype", EVERYWHERE)
def test_an_update_can_be_lowered(kernel, dtype, monkeypatch):
  # One device's part, with the axis that sums go over: pmap itself cannot be exported.
  on_one_device = lambda function, donate=(): jax.vmap(function, axis_name=parallel._AXIS)
  monkeypatch.setattr(step_module, "on_devices", on_one_device)
  config, model = base(kernel, dtype)
  state = jax.eval_shape(lambda: jax.tree.map(lambda x: x[None], initial_state(config, model)))
  update = step_module.TrainStep(config, model)._whole_update
  text = lowered(update, state, tokens(1, 16, 48), tokens(1, 16, 56))
  assert "37000" in text
  assert ("bf16" in text) == (dtype == "bfloat16")


@pytest.mark.parametrize("kernel, dtype", EVERYWHERE)
def test_a_beam_search_can_be_lowered(kernel, dtype):
  config, model = base(kernel, dtype)
  params = jax.eval_shape(lambda: initial_state(config, model)).params
  search = make_search(model, config.decode, 40)
  text = lowered(search, params, tokens(8, 24), tokens(8), tokens(8))
  assert "while" in text
