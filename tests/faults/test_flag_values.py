"""Every setting with a value too low, too high, of the wrong type, or unknown: one line that names it, exit code 2."""

import pytest

from transformer_jax.cli.main import run as command_line
from transformer_jax.config import fields


def wrong_values():
  """(name, value) of each way in which a setting can be wrong by itself."""
  for name, field in fields().items():
    rule = field.metadata
    if field.type in (int, float):
      yield from ((name, value) for value in ("three", "", "1e400", "nan", "0x", "1,2"))
      yield from (
        (name, value)
        for value in (
          rule["low"] is not None and rule["low"] - 1,
          rule["high"] is not None and rule["high"] * 2,
        )
        if value is not False
      )
    if field.type is int:
      yield name, "1.5"
    if field.type is bool:
      yield name, "perhaps"
    if rule["choices"]:
      yield from (
        (name, value) for value in ("", "nothing_of_the_kind", rule["choices"][0].upper())
      )


@pytest.mark.parametrize("name", sorted({name for name, _ in wrong_values()}))
def test_one_line_that_names_it(name, tmp_path, capsys):
  for value in (value for other, value in wrong_values() if other == name):
    code = command_line(["train", f"--workdir={tmp_path / 'w'}", f"--{name}={value}"])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and f"--{name}" in lines[0], (value, lines)
  assert not (tmp_path / "w").exists()
