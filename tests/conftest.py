"""Shared by all tests: where real data lies, sizes of a tiny model, and a cache that lasts as long as the test run."""

import atexit
import os
import pathlib
import shutil
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

if "TRANSFORMER_JAX_CACHE" not in os.environ:  # so that tests neither use nor fill a user's own
  os.environ["TRANSFORMER_JAX_CACHE"] = tempfile.mkdtemp(prefix="transformer_jax-tests-")
  atexit.register(shutil.rmtree, os.environ["TRANSFORMER_JAX_CACHE"], ignore_errors=True)


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """Workdir of a tiny run on the built-in task, trained once for all tests that only read one; not to be written to."""
  import tiny_run  # pylint: disable=import-outside-toplevel
  from transformer_jax.runs.train import train  # pylint: disable=import-outside-toplevel
  workdir = tmp_path_factory.mktemp("trained") / "run"
  train(tiny_run.tiny_config(), workdir, ".")
  return workdir


@pytest.fixture
def run_copy(trained, tmp_path):
  """A copy of it, to be changed at will."""
  return shutil.copytree(trained, tmp_path / "run")
