"""One declaration of a request checks it and describes it."""

import json

import pytest

from transformer_jax.service.kinds import Field, ListOf, Number, OneOf, Record, Switch, Text
from transformer_jax.service.problem import Problem

REQUEST = Record(
  lines=Field(ListOf(Text(5), 3), "sentences"),
  beam=Field(Number(1, 8, is_whole=True), "hypotheses", 4),
  alpha=Field(Number(0, 10), "penalty", 0.6),
  divide=Field(Switch(), "by sqrt(d_k)", True),
  heads=Field(ListOf(Record(layer=Field(Number(1, 2, is_whole=True), "from 1"))), "closed", ()),
  side=Field(OneOf(("left", "right")), "one of two", "left"),
)

WRONG = [
  ([], "the body", "is not an object"),
  ({}, "lines", "is missing"),
  ({"lines": "a"}, "lines", "is not a list"),
  ({"lines": ["a", 1]}, "lines[1]", "is not a text"),
  ({"lines": ["a"] * 4}, "lines", "has 4 items"),
  ({"lines": ["abcdef"]}, "lines[0]", "has 6 characters"),
  ({"lines": ["a\nb"]}, "lines[0]", "line break"),
  ({"lines": ["\ud800"]}, "lines[0]", "surrogate"),
  ({"lines": [], "beam": 0}, "beam", "is below 1"),
  ({"lines": [], "beam": 9}, "beam", "is above 8"),
  ({"lines": [], "beam": 1.5}, "beam", "is not a whole number"),
  ({"lines": [], "beam": True}, "beam", "is not a whole number"),
  ({"lines": [], "beam": None}, "beam", "is not a whole number"),
  ({"lines": [], "alpha": "1"}, "alpha", "is not a number"),
  ({"lines": [], "alpha": float("inf")}, "alpha", "is not a number"),
  ({"lines": [], "alpha": 10**400}, "alpha", "is above 10"),
  ({"lines": [], "divide": 1}, "divide", "is neither true nor false"),
  ({"lines": [], "heads": [{"layer": 3}]}, "heads[0].layer", "is above 2"),
  ({"lines": [], "heads": [{}]}, "heads[0].layer", "is missing"),
  ({"lines": [], "side": "up"}, "side", "is none of left, right"),
  ({"lines": [], "bream": 4}, "bream", "is unknown"),
]


@pytest.mark.parametrize("value, where, problem", WRONG)
def test_a_wrong_value_is_named(value, where, problem):
  with pytest.raises(Problem) as caught:
    REQUEST.check(value, "")
  assert caught.value.status == 400
  assert caught.value.where == where and problem in caught.value.problem


def test_defaults_are_filled_in_and_whole_floats_are_whole():
  checked = REQUEST.check({"lines": ["a", ""], "beam": 2.0}, "")
  expected = dict(lines=["a", ""], beam=2, alpha=0.6, divide=True, heads=(), side="left")
  assert checked == expected and isinstance(checked["beam"], int)


def test_the_description_says_what_is_checked():
  schema = json.loads(json.dumps(REQUEST.schema()))
  assert schema["required"] == ["lines"] and schema["additionalProperties"] is False
  beam = dict(description="hypotheses", type="integer", minimum=1, maximum=8, default=4)
  assert schema["properties"]["beam"] == beam
  assert schema["properties"]["lines"]["items"]["maxLength"] == 5
  assert schema["properties"]["lines"]["maxItems"] == 3


def test_the_description_agrees_with_a_validator_of_json_schema():
  """Each value that is refused is refused by the schema, too; half a surrogate pair is no JSON."""
  validators = pytest.importorskip("jsonschema_rs", reason="needs jsonschema_rs (schemathesis)")
  is_valid = validators.validator_for(REQUEST.schema()).is_valid
  for value, _, problem in WRONG:
    if problem != "surrogate" and value != {"lines": [], "alpha": float("inf")}:
      assert not is_valid(value), value
  assert is_valid({"lines": ["a", ""], "beam": 2.0})
