"""Imports by the module names of older versions."""

import importlib
import subprocess
import sys

import pytest

import transformer_jax
from transformer_jax.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_gives_the_module_of_the_new_one(old):
  with pytest.warns(DeprecationWarning, match=rf"{old} is now transformer_jax"):
    sys.modules.pop(f"transformer_jax.{old}", None)
    module = importlib.import_module(f"transformer_jax.{old}")
  assert module is importlib.import_module(f"transformer_jax.{MOVED[old]}")
  assert module.__name__ == f"transformer_jax.{MOVED[old]}"


def test_a_name_that_never_was_is_refused():
  with pytest.raises(ModuleNotFoundError, match=r"transformer_jax\.data\.nothing"):
    importlib.import_module("transformer_jax.data.nothing")


def test_the_package_alone_loads_no_jax():
  script = "import sys, transformer_jax; print(transformer_jax.__version__, 'jax' in sys.modules)"
  found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
  assert found.stdout == f"{transformer_jax.__version__} False\n"
