"""The shapes and dtypes in annotations are checked at each call, so a name's suffix cannot lie."""

import importlib
import itertools
import pkgutil
import sys

import jax.numpy as jnp
import jaxtyping
import pytest

import transformer_jax
from transformer_jax.attention.dot_product import attention_weights

CHECKED = ("attention", "decoding", "model", "training")

_MODULE = """
from jaxtyping import Array, Float


def transposed(x_BT: Float[Array, "B T"]) -> Float[Array, "{result}"]:
  return x_BT.T
"""

_numbers = itertools.count()


@pytest.fixture
def hooked_module(tmp_path, monkeypatch):
  """Imports a module under the hook, with `result` as the shape that its function promises."""
  monkeypatch.syspath_prepend(tmp_path)
  names = []

  def imported(result):
    name = f"shapes_{next(_numbers)}"
    names.append(name)
    (tmp_path / f"{name}.py").write_text(_MODULE.format(result=result))
    with jaxtyping.install_import_hook(name, "beartype.beartype"):
      return importlib.import_module(name)

  yield imported
  for name in names:
    del sys.modules[name]


def test_an_honest_annotation_passes(hooked_module):
  assert hooked_module("T B").transposed(jnp.zeros((2, 3))).shape == (3, 2)


def test_a_wrong_annotation_fails(hooked_module):
  lying = hooked_module("B T")
  with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
    lying.transposed(jnp.zeros((2, 3)))


@pytest.mark.parametrize("wrong", [jnp.zeros(2), jnp.zeros((2, 3), jnp.int32), None])
def test_a_wrong_argument_fails(hooked_module, wrong):
  with pytest.raises(jaxtyping.TypeCheckError, match="x_BT"):
    hooked_module("T B").transposed(wrong)


def test_this_package_is_checked_in_this_run():
  query_TK = jnp.zeros((2, 3))
  key_SK = jnp.zeros((4, 3))
  attention_weights(query_TK, key_SK, jnp.ones((2, 4), bool))
  with pytest.raises(jaxtyping.TypeCheckError, match="allowed_TS"):
    attention_weights(query_TK, key_SK, jnp.ones((2, 1), bool))  # would broadcast


@pytest.mark.parametrize("folder", CHECKED)
def test_every_module_is_loaded_by_the_hook(folder):
  package = importlib.import_module(f"{transformer_jax.__name__}.{folder}")
  names = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
  assert names
  for name in names:
    loader = type(importlib.import_module(name).__loader__)
    assert loader.__module__.startswith("jaxtyping"), name
