"""Every setting with a wrong value ends in one line that names it, and exit code 2."""

import collections

import pytest

from transformer_jax.cli.main import run as command_line
from transformer_jax.config import fields


def wrong_values():
  """Returns name -> values that are wrong by themselves."""
  wrong = collections.defaultdict(list)
  for name, field in fields().items():
    rule = field.metadata
    if field.type in (int, float):
      wrong[name] += ["three", "", "1e400", "nan", "0x", "1,2"]
    if rule["low"] is not None:
      wrong[name].append(rule["low"] - 1)
    if rule["high"] is not None:
      wrong[name].append(rule["high"] * 2)
    if field.type is int:
      wrong[name].append("1.5")
    if field.type is bool:
      wrong[name].append("perhaps")
    if rule["choices"]:
      wrong[name] += ["", "nothing_of_the_kind", rule["choices"][0].upper()]
  return wrong


WRONG = wrong_values()


@pytest.mark.parametrize("name", sorted(WRONG))
def test_one_line_that_names_it(name, tmp_path, capsys):
  for value in WRONG[name]:
    code = command_line(["train", f"--workdir={tmp_path / 'w'}", f"--{name}={value}"])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and f"--{name}" in lines[0], (value, lines)
  assert not (tmp_path / "w").exists()
