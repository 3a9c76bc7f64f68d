"""The names of the machine, and the memory that a process can still have."""

import pytest

from transformer_jax import machine


@pytest.fixture
def container(tmp_path):
  """Returns a function that writes the files of a control group; its folder."""

  def write(limit, used=600, cached=100):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon 500\ninactive_file {cached}\n")
    return tmp_path

  return write


def test_a_container_leaves_its_limit_less_what_is_used_and_not_cached(container):
  assert machine._left_in_container(container(limit=1000)) == 1000 - 600 + 100


def test_a_container_without_a_limit_is_unknown(container, tmp_path):
  assert machine._left_in_container(container(limit="max")) is None
  assert machine._left_in_container(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
  "on_machine, in_container, available", [(9, 5, 5), (5, None, 5), (None, 0, 0), (None, None, None)]
)
def test_the_smaller_limit_counts(monkeypatch, on_machine, in_container, available):
  monkeypatch.setattr(machine, "_left_on_machine", lambda: on_machine)
  monkeypatch.setattr(machine, "_left_in_container", lambda: in_container)
  assert machine.available_memory() == available


def test_the_hardware_has_names():
  hardware = machine.hardware()
  assert hardware["cores"] >= hardware["usable_cores"] >= 1 and hardware["processor"]
  assert hardware["device"].partition(" x ")[2]
