"""The kernels for GPUs, on a machine that has none.

Pallas interprets the programs of `fused`, and XLA's attention stands in for cuDNN's. On a GPU
`test_kernels_on_gpu.py` runs both as they are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from test_kernels import MASKS, draw

from transformer_jax.attention import KERNELS, Mask, kernels
from transformer_jax.attention.dot_product import reference_attention
from transformer_jax.attention.fused import fused_attention

# A GPU would round float32 products, and run them as they are.
pytestmark = pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU is here")

# (queries, keys, d_k, d_v)
SHAPES = [(1, 1, 8, 8), (7, 12, 8, 3), (17, 9, 24, 8), (16, 33, 8, 8)]


def cudnn_attention(*args):
  """Returns what the kernel makes of XLA's attention in the place of cuDNN's."""
  library = jax.nn.dot_product_attention

  def stand_in(query_BTHK, key_BSHK, value_BSHV, *, implementation, **settings):
    if implementation == "cudnn":
      assert query_BTHK.shape[1] % 2 == key_BSHK.shape[1] % 2 == 0, (
        "its gradients need even lengths"
      )
      lengths_B = settings.get("key_value_seq_lengths", jnp.ones(1))
      # In cuDNN an example without keys is not defined.
      query_BTHK = jnp.where((lengths_B == 0)[:, None, None, None], jnp.nan, query_BTHK)
    return library(query_BTHK, key_BSHK, value_BSHV, implementation="xla", **settings)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax.nn, "dot_product_attention", stand_in)
    return kernels._cudnn_attention(*args)


def results(attend, mask_name):
  """Returns shape -> (output, gradients of queries, keys and values), from one program."""

  def of_shape(num_queries, num_keys, d_k, d_v):
    arrays = draw(3, num_queries, num_keys, 2, d_k, d_v, seed=num_keys)
    direction = np.random.default_rng(1).standard_normal((3, num_queries, 2, d_v))
    mask = MASKS[mask_name](3, num_queries, num_keys)
    values, pull = jax.vjp(lambda *arrays: attend(*arrays, mask), *arrays)
    return values, *pull(jnp.asarray(direction, jnp.float32))

  return jax.jit(lambda: {shape: of_shape(*shape) for shape in SHAPES})()


@pytest.mark.parametrize("attend", [fused_attention, cudnn_attention])
@pytest.mark.parametrize("mask_name", MASKS)
def test_values_and_gradients_are_those_of_the_reference(mask_name, attend):
  same = functools.partial(np.testing.assert_allclose, atol=5e-6)
  jax.tree.map(same, results(attend, mask_name), results(reference_attention, mask_name))


def test_longer_sequences_are_given_to_cudnn(monkeypatch):
  monkeypatch.setattr(kernels, "_cudnn_attention", lambda query, *_: jnp.full_like(query, 7))
  kernel = KERNELS["fused"]
  by_length = lambda length: kernel.attend(*draw(1, 2, length, 1, 8, 8), Mask(), None)
  assert jnp.all(by_length(kernel.longest + 1) == 7)
  assert not jnp.any(by_length(kernel.longest) == 7)


@pytest.mark.parametrize("mask_name", MASKS)
def test_programs_and_gradients_are_lowered_for_a_gpu(mask_name, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  arrays = [jax.ShapeDtypeStruct((3, 34, 2, 64), jnp.bfloat16)] * 3

  def both(*arrays):
    attend = lambda *arrays: fused_attention(*arrays, MASKS[mask_name](3, 34, 34))
    values, pull = jax.vjp(attend, *arrays)
    return pull(values)

  device = AbstractDevice("NVIDIA H100", num_cores=None, platform="cuda")
  with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
    text = jax.jit(both).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
  assert "attend_in_head" in text and "gradients_of_head" in text
