"""Every kernel that a GPU can run, on one, against the equation in float64 on the host.

    JAX_PLATFORMS=cuda,cpu python -m pytest tests -k on_gpu

The shapes are those at which fused kernels are known to go wrong: odd lengths, and lengths that
leave a remainder of 64 when they are divided by a block of 128.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_kernels import MASKS, attend_in_numpy, draw, in_one_program

from transformer_jax.attention import KERNELS, Use
from transformer_jax.attention.dot_product import reference_attention

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU is here")

ON_GPU = [
  (name, dtype)
  for name in KERNELS
  for dtype in ("float32", "bfloat16")
  if KERNELS[name].why_not(Use("gpu", dtype, 64, 64)) is None
]
# (queries, keys, d_k, d_v)
SHAPES = [
  (7, 12, 16, 16),
  (31, 45, 64, 64),
  (64, 64, 64, 64),
  (65, 192, 64, 32),
  (320, 320, 64, 64),
]
TOLERANCE = {"float32": 5e-6, "bfloat16": 0.03}


def example(mask_name, dtype, num_queries, num_keys, d_k, d_v):
  """Returns (direction of the gradient, queries, keys, values, mask), rounded to the dtype."""
  arrays = draw(3, num_queries, num_keys, 2, d_k, d_v, seed=num_queries)
  direction = np.random.default_rng(1).standard_normal((3, num_queries, 2, d_v))
  rounded = [jnp.asarray(array, dtype) for array in (direction, *arrays)]
  return *rounded, MASKS[mask_name](3, num_queries, num_keys)


def values_and_gradients(attend, direction, *arrays_and_mask):
  """Returns (output, its three gradients along the direction)."""
  *arrays, mask = arrays_and_mask
  values, pull = jax.vjp(lambda *arrays: attend(*arrays, mask), *arrays)
  return values, *pull(direction.astype(values.dtype))


@pytest.mark.parametrize("mask_name", MASKS)
@pytest.mark.parametrize("name, dtype", ON_GPU)
def test_values_and_gradients_are_those_of_the_equation(name, dtype, mask_name):
  examples = {shape: example(mask_name, dtype, *shape) for shape in SHAPES}
  of_kernel = functools.partial(values_and_gradients, KERNELS[name].attend)
  with jax.default_matmul_precision("highest"):
    found = in_one_program(of_kernel, examples)
  host = jax.devices("cpu")[0]
  for shape, args in examples.items():
    _, *arrays, mask = args
    values = np.asarray(found[shape][0], np.float32)
    assert found[shape][0].dtype == dtype
    expected = attend_in_numpy(*arrays, mask)
    np.testing.assert_allclose(values, expected, atol=TOLERANCE[dtype], err_msg=str(shape))
    on_host = jax.device_put(args, host)
    arrays_in_float32 = [array.astype(jnp.float32) for array in on_host[:-1]]
    with jax.default_device(host):
      _, *gradients = values_and_gradients(reference_attention, *arrays_in_float32, on_host[-1])
    for gradient, other in zip(found[shape][1:], gradients, strict=True):
      atol = TOLERANCE[dtype] * max(1.0, float(jnp.abs(other).max()))
      in_float32 = np.asarray(gradient, np.float32)
      np.testing.assert_allclose(in_float32, other, atol=atol, err_msg=str(shape))
