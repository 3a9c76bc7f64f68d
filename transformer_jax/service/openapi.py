"""The description of the service in OpenAPI 3.1, from the declarations that check its requests."""

import dataclasses
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from transformer_jax.service.kinds import Field, Record
from transformer_jax.service.messages import PROBLEM

JSON, HTML = "application/json", "text/html"
# What any operation may answer, and what one with a body may.
ALWAYS = (404, 405, 421, 500)
WITH_BODY = (400, 413, 415, 422, 503)


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
  """One path, one method.

  Attributes:
    method: "GET" or "POST".
    path: such as "/translate".
    summary: what it does.
    answer: what it answers with status 200; None: any JSON object, or HTML.
    media: type of that answer.
    request: what its body holds; None: it has none.
    query: its parameters in the URL.
    problems: statuses of refusals besides `ALWAYS`.
  """

  method: str
  path: str
  summary: str
  answer: Record | None = None
  media: str = JSON
  request: Record | None = None
  query: Mapping[str, Field] = dataclasses.field(default_factory=dict)
  problems: Sequence[int] = ()

  def described(self) -> dict[str, Any]:
    """Returns its Operation Object."""
    answer = dict(type="string" if self.media == HTML else "object")
    answer = self.answer.schema() if self.answer else answer
    responses = {"200": dict(description="done", content={self.media: dict(schema=answer)})}
    problem = {JSON: dict(schema={"$ref": "#/components/schemas/Problem"})}
    for status in sorted({*ALWAYS, *self.problems}):
      responses[str(status)] = dict(description=HTTPStatus(status).phrase, content=problem)
    described: dict[str, Any] = dict(summary=self.summary, responses=responses)
    if self.request:
      schema = self.request.schema()
      described["requestBody"] = dict(required=True, content={JSON: dict(schema=schema)})
    if self.query:
      described["parameters"] = [
        {"name": name, "in": "query", "description": field.help, "schema": field.kind.schema()}
        for name, field in self.query.items()
      ]
    return described


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
  """Returns the OpenAPI document of these operations."""
  paths: dict[str, dict[str, Any]] = {}
  for operation in operations:
    paths.setdefault(operation.path, {})[operation.method.lower()] = operation.described()
  return dict(
    openapi="3.1.0",
    info=dict(title="transformer-jax serve", version=version),
    paths=paths,
    components=dict(schemas=dict(Problem=PROBLEM.schema())),
  )
