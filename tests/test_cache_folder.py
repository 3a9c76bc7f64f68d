"""The cache is in the named folder, in the home, or in a folder that only its user can change."""

import os
import pathlib

import pytest

from transformer_jax.cache_folder import cache_folder
from transformer_jax.errors import WorkdirError


@pytest.fixture
def homeless(tmp_path, monkeypatch):
  """A user without a home; the folder for temporary files is the test's."""

  def no_home():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.delenv("TRANSFORMER_JAX_CACHE", raising=False)
  monkeypatch.setattr(pathlib.Path, "home", no_home)
  monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
  return tmp_path


def test_the_named_folder(monkeypatch, tmp_path):
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", str(tmp_path / "cache"))
  assert cache_folder() == tmp_path / "cache"
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("TRANSFORMER_JAX_CACHE", "~/cache")
  assert cache_folder() == tmp_path / "cache"


def test_without_a_home_it_is_the_users_own(homeless):
  folder = cache_folder()
  assert folder.parent == homeless and str(os.getuid()) in folder.name
  assert folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == os.getuid()
  assert cache_folder() == folder


def open_to_all(folder):
  folder.mkdir()
  folder.chmod(0o777)


@pytest.mark.parametrize(
  "take",
  [open_to_all, lambda folder: folder.symlink_to("/"), lambda folder: folder.write_text("a file")],
)
def test_a_folder_that_another_user_may_have_made_is_refused(homeless, take):
  take(homeless / f"transformer_jax-{os.getuid()}")
  with pytest.raises(WorkdirError, match="TRANSFORMER_JAX_CACHE"):
    cache_folder()


def test_a_folder_of_another_user_is_refused(homeless, monkeypatch):
  folder = cache_folder()
  stranger = os.getuid() + 1
  monkeypatch.setattr(os, "getuid", lambda: stranger)
  folder.rename(homeless / f"transformer_jax-{stranger}")
  with pytest.raises(WorkdirError, match="other users"):
    cache_folder()
