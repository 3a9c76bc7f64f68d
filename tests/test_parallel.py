"""The compilation cache is turned on if it can be written, or at least read."""

import warnings

import jax
import pytest

from transformer_jax import parallel


@pytest.fixture
def cache_dir():
  """jax's own setting, put back afterwards."""
  before = jax.config.jax_compilation_cache_dir
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", before)


def test_a_cache_that_cannot_be_written_is_one_line(cache_dir, tmp_path, capsys):
  (tmp_path / "file").write_text("in the folder's place")
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    parallel._keep_programs(tmp_path / "file" / "compiled")
    warnings.warn("Error writing persistent compilation cache entry for 'jit_f':\nand so on")
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1
  assert "/compiled: Not a directory; set TRANSFORMER_JAX_CACHE to a writable folder" in lines[0]
  assert cache_dir() is None and not caught


def test_a_cache_that_can_only_be_read_is_read(cache_dir, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(parallel.os, "access", lambda path, mode: not mode & parallel.os.W_OK)
  parallel._keep_programs(tmp_path)
  assert "compiled programs are not kept" in capsys.readouterr().err
  assert cache_dir() == str(tmp_path)


def test_a_cache_that_can_be_written_is_used_silently(cache_dir, tmp_path, capsys):
  parallel._keep_programs(tmp_path / "new" / "compiled")
  assert cache_dir() == str(tmp_path / "new" / "compiled") and not any(capsys.readouterr())
