"""The whole configuration of an experiment, checked."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from transformer_jax.config.checks import check_together
from transformer_jax.config.data import DataConfig
from transformer_jax.config.decode import DecodeConfig
from transformer_jax.config.model import ModelConfig
from transformer_jax.config.setting import Value
from transformer_jax.config.train import TrainConfig
from transformer_jax.errors import ConfigError

_GROUPS = dict(model=ModelConfig, data=DataConfig, train=TrainConfig, decode=DecodeConfig)


@dataclasses.dataclass(frozen=True)
class Config:
  """One experiment. `Config()` is the paper's base model on the built-in task.

  Example:
    config = Config().replace(num_heads=1, d_k=512, d_v=512)  # Table 3, row A
    config.model.num_heads, config.to_flat()["num_heads"]  # (1, 1)
  """

  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
  decode: DecodeConfig = dataclasses.field(default_factory=DecodeConfig)

  def to_flat(self) -> dict[str, Value]:
    """Returns all hyperparameters as one dict, name -> value."""
    flat = {}
    for group in _GROUPS:
      flat.update(dataclasses.asdict(getattr(self, group)))
    return flat

  @classmethod
  def from_flat(cls, values: Mapping[str, Any]) -> "Config":
    """Builds and checks a Config from name -> value; names left out keep their default.

    Raises:
      ConfigError: a name is unknown, a value is of the wrong type or out of range, or two settings
        contradict each other.
    """
    unknown = sorted(set(values) - set(fields()))
    if unknown:
      raise ConfigError(f"--{unknown[0]}", "there is no such setting", "see --help for the names")
    parts: dict[str, Any] = {}
    for group, group_class in _GROUPS.items():
      names = [field.name for field in dataclasses.fields(group_class)]
      checked: dict[str, Any] = {
        name: _checked(name, values[name]) for name in names if name in values
      }
      parts[group] = group_class(**checked)
    check_together(**parts)
    return cls(**parts)

  def replace(self, **values: Any) -> "Config":
    """Returns a checked copy with some hyperparameters changed, by their flat names.

    Raises:
      ConfigError: as `from_flat`.
    """
    return Config.from_flat({**self.to_flat(), **values})

  def override(self, values: Mapping[str, Any]) -> "Config":
    """Returns a checked copy with those decoding settings of a dict that are not None.

    Raises:
      ConfigError: as `from_flat`; or a setting of another group, with which a trained model would
        be another.
    """
    decoding = {field.name for field in dataclasses.fields(DecodeConfig)}
    for name in values:
      if name in fields() and name not in decoding:
        raise ConfigError(
          f"--{name}", "is not a decoding setting: a trained model keeps it", "leave it out"
        )
    return self.replace(**{name: value for name, value in values.items() if value is not None})


def fields() -> dict[str, dataclasses.Field]:
  """Returns name -> dataclasses.Field of every hyperparameter, in the order of the groups."""
  return {field.name: field for group in _GROUPS.values() for field in dataclasses.fields(group)}


def groups() -> dict[str, type]:
  """Returns group name -> its dataclass; the sections of `--help`."""
  return dict(_GROUPS)


# Settings that name files or folders.
PATHS = frozenset(name for name, field in fields().items() if field.metadata["is_path"])

_LARGEST = 2**31 - 1  # of whole numbers without a bound of their own


def _checked(name: str, value: Any) -> Value:
  """Returns `value` if it has the type and the range of field `name`."""
  field = fields()[name]
  rule = field.metadata
  kind: Any = field.type
  if kind is float and type(value) is int:
    with contextlib.suppress(OverflowError):  # a number of hundreds of digits stays an int
      value = float(value)
  if type(value) is not kind:
    raise ConfigError(f"--{name}", f"{value!r} is not of type {kind.__name__}")
  if kind is float and not math.isfinite(value):
    raise ConfigError(f"--{name}", f"{value} is not a finite number")
  if rule["choices"] and value not in rule["choices"]:
    raise ConfigError(
      f"--{name}", f"'{value}' is not known", f"choose one of {', '.join(rule['choices'])}"
    )
  if rule["low"] is not None and value < rule["low"]:
    raise ConfigError(f"--{name}", f"{value} is too small", f"at least {rule['low']}")
  high = _LARGEST if rule["high"] is None and kind is int else rule["high"]
  if high is not None and value > high:
    raise ConfigError(f"--{name}", f"{value} is too large", f"at most {high}")
  return value
