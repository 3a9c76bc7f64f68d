"""Check of a structure of arrays against the shapes and dtypes that its class declares.

The tests' import hook checks functions only: jax rebuilds structures with other things in their
fields than arrays.
"""

import typing
from typing import Any

from jaxtyping import jaxtyped


def assert_as_declared(structure: Any) -> None:
  """Asserts that all array fields are as annotated, with the same sizes of axes throughout."""
  with jaxtyped("context"):
    assert _count_checked(structure), f"{type(structure).__name__} declares no array"


def _count_checked(structure):
  """Checks the fields, those of inner structures too; returns their number."""
  count = 0
  for name, annotation in type(structure).__annotations__.items():
    value = getattr(structure, name)
    options = typing.get_args(annotation) or (annotation,)
    if all(hasattr(option, "dim_str") for option in options):
      where = f"{type(structure).__name__}.{name}"
      assert any(isinstance(value, option) for option in options), f"{where}: {value}"
      count += 1
    elif value.__class__ is annotation and hasattr(value, "__annotations__"):
      count += _count_checked(value)
  return count
