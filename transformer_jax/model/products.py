"""The product of rows with a parameter matrix, with gradients in the form that is fast to compute."""

import math

import jax

from transformer_jax.attention.products import sum_of_outer_products


@jax.custom_vjp
def multiply_rows(rows_RI, matrix_IO):
  """rows_RI @ matrix_IO."""
  return rows_RI @ matrix_IO


def _forward(rows_RI, matrix_IO):
  return rows_RI @ matrix_IO, (rows_RI, matrix_IO)


def _backward(kept, slope_RO):
  rows_RI, matrix_IO = kept
  return slope_RO @ matrix_IO.T, sum_of_outer_products(rows_RI, slope_RO)


multiply_rows.defvjp(_forward, _backward)


def dot_general(inputs, kernel, dimension_numbers, precision=None, preferred_element_type=None):
  """`lax.dot_general` of inputs' last axes with a kernel's first ones, for Linen's Dense and DenseGeneral."""
  (contracted, of_kernel), _ = dimension_numbers
  count = len(of_kernel)
  assert precision is None and preferred_element_type is None, "the dtype of inputs and kernel alone decides"
  assert tuple(contracted) == tuple(range(inputs.ndim - count, inputs.ndim)) and tuple(of_kernel) == tuple(range(count)), dimension_numbers
  width = math.prod(kernel.shape[:count])
  outputs = multiply_rows(inputs.reshape(-1, width), kernel.reshape(width, -1))
  return outputs.reshape(*inputs.shape[:-count], *kernel.shape[count:])
