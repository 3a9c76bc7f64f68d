"""JSON as RFC 8259 defines it (floor 0): NaN and Infinity become null."""

import json
import math
from typing import Any


def json_text(value: Any, **layout: Any) -> str:
  """Returns `value` as JSON text; `layout` is passed to `json.dumps`, such as indent=1.

  Example:
    json_text(dict(loss=float("nan")))  # '{"loss": null}'
  """
  try:
    return json.dumps(value, allow_nan=False, **layout)
  except ValueError:  # a number is not finite
    return json.dumps(_with_nulls(value), allow_nan=False, **layout)


def _with_nulls(value: Any) -> Any:
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, dict):
    return {name: _with_nulls(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_with_nulls(item) for item in value]
  return value
