"""A tiny run on the built-in task, trained once for all tests that only read one."""

import shutil

import pytest
import tiny_run

from transformer_jax.runs.train import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """Workdir of a finished run; not to be written to."""
  workdir = tmp_path_factory.mktemp("trained") / "run"
  train(tiny_run.tiny_config(), workdir, ".")
  return workdir


@pytest.fixture
def run_copy(trained, tmp_path):
  """A copy of it, to be changed at will."""
  return shutil.copytree(trained, tmp_path / "run")
