"""A folder of checkpoints."""

import pytest

from transformer_jax.checkpoints import Checkpoints


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "checkpoints"


@pytest.fixture
def opened(folder):
  """Yields a function that opens `folder`; closes whatever it opened."""
  every = []

  def open_(*args, **settings):
    every.append(Checkpoints(folder, *args, **settings))
    return every[-1]

  yield open_
  for checkpoints in every:
    checkpoints.close()
