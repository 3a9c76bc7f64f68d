"""Kinds of JSON values. One declaration checks a request and describes it in OpenAPI.

Record(lines=Field(ListOf(Text(100), 10), "sentences")).check({"lines": ["one"]}, "")
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from transformer_jax.service.problem import Problem


class Kind(Protocol):
  """What a JSON value may be."""

  def schema(self) -> dict[str, Any]:
    """Returns the JSON Schema of the values."""
    ...

  def check(self, value: Any, where: str) -> Any:
    """Returns the value, with defaults filled in.

    Raises:
      Problem: with status 400, the value is not of this kind; `where` names it.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Text:
  """A text without line breaks."""

  max_length: int | None = None  # characters

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    limit = {} if self.max_length is None else dict(maxLength=self.max_length)
    return dict(type="string", pattern="^[^\\n]*$", **limit)

  def check(self, value: Any, where: str) -> str:
    """Implements Kind. Half a surrogate pair is no text."""
    if not isinstance(value, str):
      raise _wrong(where, "is not a text", value)
    if any("\ud800" <= character <= "\udfff" for character in value):
      raise Problem(400, where, "has half a surrogate pair", "write whole characters")
    if "\n" in value:
      raise Problem(400, where, "has a line break", "give each line by itself")
    if self.max_length is not None and len(value) > self.max_length:
      raise Problem(400, where, f"has {len(value):,} characters", f"at most {self.max_length:,}")
    return value


@dataclasses.dataclass(frozen=True)
class Number:
  """A number from `low` to `high`; `is_whole`: without a fraction."""

  low: float | None = None
  high: float | None = None
  is_whole: bool = False

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    bounds = dict(minimum=self.low, maximum=self.high)
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    return dict(type="integer" if self.is_whole else "number", **bounds)

  def check(self, value: Any, where: str) -> int | float:
    """Implements Kind. As in JSON Schema, 1.0 is whole."""
    name = "a whole number" if self.is_whole else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      raise _wrong(where, f"is not {name}", value)
    if isinstance(value, float) and not math.isfinite(value):
      raise _wrong(where, f"is not {name}", value)
    if self.is_whole and value != int(value):
      raise _wrong(where, f"is not {name}", value)
    if self.low is not None and value < self.low:
      raise _wrong(where, f"is below {self.low:,}", value)
    if self.high is not None and value > self.high:
      raise _wrong(where, f"is above {self.high:,}", value)
    return int(value) if self.is_whole else float(value)


@dataclasses.dataclass(frozen=True)
class Switch:
  """true or false."""

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    return dict(type="boolean")

  def check(self, value: Any, where: str) -> bool:
    """Implements Kind."""
    if not isinstance(value, bool):
      raise _wrong(where, "is neither true nor false", value)
    return value


@dataclasses.dataclass(frozen=True)
class OneOf:
  """One of some texts."""

  options: Sequence[str]

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    return dict(type="string", enum=list(self.options))

  def check(self, value: Any, where: str) -> str:
    """Implements Kind."""
    if not isinstance(value, str) or value not in self.options:
      raise _wrong(where, f"is none of {', '.join(self.options)}", value)
    return value


@dataclasses.dataclass(frozen=True)
class ListOf:
  """A list of values of a kind."""

  item: Kind
  max_items: int | None = None
  min_items: int = 0

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    limit = {} if self.max_items is None else dict(maxItems=self.max_items)
    return dict(type="array", items=self.item.schema(), minItems=self.min_items, **limit)

  def check(self, value: Any, where: str) -> list[Any]:
    """Implements Kind."""
    if not isinstance(value, list):
      raise _wrong(where, "is not a list", value)
    if self.max_items is not None and len(value) > self.max_items:
      raise Problem(400, where, f"has {len(value):,} items", f"at most {self.max_items:,}")
    if len(value) < self.min_items:
      raise Problem(400, where, f"has {len(value):,} items", f"at least {self.min_items:,}")
    return [self.item.check(item, f"{where}[{number}]") for number, item in enumerate(value)]


_REQUIRED = object()


@dataclasses.dataclass(frozen=True)
class Field:
  """One value of a Record."""

  kind: Kind
  help: str
  default: Any = _REQUIRED

  @property
  def is_required(self) -> bool:
    """Whether it has no default."""
    return self.default is _REQUIRED


class Record:
  """An object with these fields and no others."""

  fields: Mapping[str, Field]

  def __init__(self, **fields: Field) -> None:
    self.fields = fields

  def schema(self) -> dict[str, Any]:
    """Implements Kind."""
    properties = {}
    for name, field in self.fields.items():
      properties[name] = dict(description=field.help, **field.kind.schema())
      if not field.is_required and field.default is not None:
        properties[name]["default"] = field.default
    required = [name for name, field in self.fields.items() if field.is_required]
    return dict(type="object", properties=properties, required=required, additionalProperties=False)

  def check(self, value: Any, where: str) -> dict[str, Any]:
    """Implements Kind."""
    if not isinstance(value, dict):
      raise _wrong(where or "the body", "is not an object", value)
    checked = {}
    for name in value:
      if name not in self.fields:
        known = ", ".join(self.fields)
        raise Problem(400, _path(where, ascii(name)[1:-1][:40]), "is unknown", f"there are {known}")
    for name, field in self.fields.items():
      if name in value:
        checked[name] = field.kind.check(value[name], _path(where, name))
      elif field.is_required:
        raise Problem(400, _path(where, name), "is missing", field.help)
      else:
        checked[name] = field.default
    return checked


def _path(where: str, name: str) -> str:
  return f"{where}.{name}" if where else name


def _wrong(where: str, problem: str, value: Any) -> Problem:
  shown = type(value).__name__ if isinstance(value, (str, list, dict)) else repr(value)[:40]
  return Problem(400, where, f"{shown} {problem}", "see /openapi.json")
