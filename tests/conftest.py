"""Shared by all tests: where real data lies, and a compilation cache, so that a shape is compiled once."""

import os
import pathlib

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture(scope="session")
def shared_data():
  """Folder of real text and treebanks: $TRANSFORMER_JAX_DATA, or shared/data beside the repository."""
  named = os.environ.get("TRANSFORMER_JAX_DATA")
  folder = pathlib.Path(named) if named else pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
  if not folder.is_dir():
    pytest.skip(f"needs real data: set TRANSFORMER_JAX_DATA ({folder} is not there)")
  return folder


@pytest.fixture
def tiny_settings():
  """Sizes of a model that compiles and trains in seconds."""
  return dict(num_layers=1, d_model=16, d_ff=32, num_heads=2, d_k=8, d_v=8, attention_kernel="xla")
