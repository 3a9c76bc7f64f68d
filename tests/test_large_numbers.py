"""Whole numbers beyond 31 bits are refused by name, whatever they are for."""

import pytest

from transformer_jax.cli.main import run as command_line
from transformer_jax.config import Config
from transformer_jax.config.experiment import fields
from transformer_jax.errors import ConfigError

WHOLE = [name for name, field in fields().items() if field.type is int]


@pytest.mark.parametrize("name", WHOLE)
def test_a_setting(name):
  with pytest.raises(ConfigError, match=f"--{name}: .* is too large; at most"):
    Config().replace(**{name: 10**20})


def test_a_flag_of_a_command(capsys):
  assert command_line(["cost", "--output=o", "--rounds=100000000000000000000"]) == 2
  assert "--rounds: 100000000000000000000 is too large" in capsys.readouterr().err
