"""JSON without the words that are none: NaN and Infinity become null; all else is the library's."""

import json
import math

import numpy as np
import pytest

from transformer_jax.strict_json import json_text


@pytest.mark.parametrize(
  "value, text",
  [
    (math.nan, "null"),
    (math.inf, "null"),
    (-math.inf, "null"),
    (np.float64("inf"), "null"),
    (
      dict(a=[1.5, (math.nan, 2)], b=dict(c=-math.inf, d="NaN")),
      '{"a": [1.5, [null, 2]], "b": {"c": null, "d": "NaN"}}',
    ),
    ([True, None, 1, 0.1, "ü"], '[true, null, 1, 0.1, "\\u00fc"]'),
    ({1: math.inf}, '{"1": null}'),
  ],
)
def test_numbers_that_are_not_finite_are_null(value, text):
  assert json_text(value) == text


def test_everything_else_and_the_layout_are_the_librarys():
  value = dict(b=[1, 2.5, "x"], a=dict(c=None))
  packed = dict(ensure_ascii=False, separators=(",", ":"))
  for layout in ({}, dict(indent=1), dict(sort_keys=True), packed):
    assert json_text(value, **layout) == json.dumps(value, **layout)


def test_other_values_than_json_are_still_refused():
  with pytest.raises(TypeError):
    json_text([math.nan, object()])
