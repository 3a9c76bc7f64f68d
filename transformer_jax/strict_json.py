"""JSON as RFC 8259 has it (floor 0): without NaN and Infinity, for which null is written."""

import json
import math


def json_text(value, **layout) -> str:
  """`value` as JSON; `layout` is what `json.dumps` takes, such as indent=1."""
  try:
    return json.dumps(value, allow_nan=False, **layout)
  except ValueError:  # a number is not finite
    return json.dumps(_with_nulls(value), allow_nan=False, **layout)


def _with_nulls(value):
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, dict):
    return {name: _with_nulls(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_with_nulls(item) for item in value]
  return value
