"""Matrix products whose gradients are in the form that is fast to compute."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def sum_of_outer_products(
  left: Float[Array, "*B R I"], right: Float[Array, "*B R O"], dtype: DTypeLike | None = None
) -> Float[Array, "*B I O"]:
  """Returns left^T right, summed over the rows R: the gradient of a matrix, of keys or of values.

  `dtype` is that of the sum and the result, by default the arguments'. On a CPU, XLA takes up to
  1.7 times as long for a tall result as for its transpose. The barrier keeps XLA from fusing the
  product and the transposition again.
  """

  def product(a: Array, b: Array) -> Array:
    return jnp.einsum("...ri,...ro->...io", a, b, preferred_element_type=dtype)

  if left.shape[-1] > right.shape[-1] and jax.default_backend() == "cpu":
    return lax.optimization_barrier(product(right, left)).swapaxes(-1, -2)
  return product(left, right)


@jax.custom_vjp
def multiply_rows(
  rows_RI: Float[Array, "R I"], matrix_IO: Float[Array, "I O"]
) -> Float[Array, "R O"]:
  """Returns rows_RI @ matrix_IO; the matrix's gradient is a `sum_of_outer_products`."""
  return rows_RI @ matrix_IO


_Residuals = tuple[Float[Array, "R I"], Float[Array, "I O"]]


def _forward(
  rows_RI: Float[Array, "R I"], matrix_IO: Float[Array, "I O"]
) -> tuple[Float[Array, "R O"], _Residuals]:
  return rows_RI @ matrix_IO, (rows_RI, matrix_IO)


def _backward(
  residuals: _Residuals, gradient_RO: Float[Array, "R O"]
) -> tuple[Float[Array, "R I"], Float[Array, "I O"]]:
  rows_RI, matrix_IO = residuals
  return gradient_RO @ matrix_IO.T, sum_of_outer_products(rows_RI, gradient_RO)


multiply_rows.defvjp(_forward, _backward)


def dot_general(
  inputs: Float[Array, "..."],
  kernel: Float[Array, "..."],
  dimension_numbers: tuple[
    tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]
  ],
  precision: Any = None,
  preferred_element_type: Any = None,
) -> Float[Array, "..."]:
  """Returns `lax.dot_general` of the last axes of inputs and the first of a kernel.

  It is for Linen's Dense and DenseGeneral, which contract these axes and ask for no other precision
  than that of inputs and kernel.
  """
  (input_axes, kernel_axes), _ = dimension_numbers
  count = len(kernel_axes)
  last_axes = range(inputs.ndim - count, inputs.ndim)
  assert tuple(input_axes) == tuple(last_axes), dimension_numbers
  assert tuple(kernel_axes) == tuple(range(count)), dimension_numbers
  assert precision is None and preferred_element_type is None, "dtypes alone decide the precision"
  width = math.prod(kernel.shape[:count])
  outputs = multiply_rows(inputs.reshape(-1, width), kernel.reshape(width, -1))
  return outputs.reshape(*inputs.shape[:-count], *kernel.shape[count:])
