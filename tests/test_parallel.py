"""The compilation cache is turned on if it can be written, or at least read."""

import warnings

import jax
import numpy as np
import pytest

from transformer_jax import parallel


@pytest.fixture
def cache_dir():
  """jax's own setting, put back afterwards."""
  before = jax.config.jax_compilation_cache_dir
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
  ("variable", "value", "is_alone"),
  [
    ("SLURM_STEP_TASKS_PER_NODE", "1(x4)", True),
    ("SLURM_STEP_TASKS_PER_NODE", "1", True),
    ("SLURM_STEP_TASKS_PER_NODE", "8(x2)", False),
    ("SLURM_STEP_TASKS_PER_NODE", "2,1", False),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "1", True),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2", False),
    ("NOTHING", "", False),
  ],
)
def test_a_process_that_is_alone_on_its_machine_has_all_devices(
  variable, value, is_alone, monkeypatch
):
  monkeypatch.setenv(variable, value)
  assert parallel._is_alone_on_its_machine() == is_alone


@pytest.mark.parametrize(("processes", "local"), [(1, 1), (1, 8), (2, 1), (2, 4), (3, 2)])
def test_the_rows_of_all_processes_are_the_batch(processes, local, monkeypatch):
  array = np.arange(22).reshape(11, 2) + 1
  monkeypatch.setattr(jax, "device_count", lambda: processes * local)
  monkeypatch.setattr(jax, "local_device_count", lambda: local)
  shards, places = [], []
  for number in range(processes):
    monkeypatch.setattr(jax, "process_index", lambda number=number: number)
    shards.append(parallel.shard_rows(array))
    places += parallel.own_rows(11)
    assert len(shards[-1]) == local
  rows = np.concatenate(shards).reshape(-1, 2)
  np.testing.assert_array_equal(rows[:11], array)
  assert not rows[11:].any()
  assert places == list(range(len(rows)))


@pytest.mark.parametrize(
  ("backend", "devices", "rows", "in_all"),
  [
    ("cpu", 1, 735, 735),
    ("gpu", 1, 735, 736),
    ("gpu", 1, 736, 736),
    ("gpu", 1, 63, 63),
    ("gpu", 4, 735, 736),
    ("tpu", 4, 700, 704),
    ("gpu", 16, 735, 736),
  ],
)
def test_many_rows_of_an_accelerator_s_update_are_a_multiple_of_eight(
  backend, devices, rows, in_all, monkeypatch
):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  monkeypatch.setattr(jax, "device_count", lambda: devices)
  monkeypatch.setattr(jax, "local_device_count", lambda: devices)
  assert parallel.own_rows_of_update(rows) == range(in_all)


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
