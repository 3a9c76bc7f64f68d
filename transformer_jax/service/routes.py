"""The paths of the service, as a Starlette application."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, NoReturn

# The extra `serve` brings Starlette; `cli/serve.py` has looked for it.
from starlette.applications import Starlette  # pyright: ignore[reportMissingImports]
from starlette.exceptions import HTTPException  # pyright: ignore[reportMissingImports]
from starlette.requests import (  # pyright: ignore[reportMissingImports]
  ClientDisconnect,
  Request,
)
from starlette.responses import Response  # pyright: ignore[reportMissingImports]
from starlette.routing import Route  # pyright: ignore[reportMissingImports]

from transformer_jax.runs.alignment import Heads
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.service.engine import Engine
from transformer_jax.service.guard import LOOPBACK, App, Guard, Receive, Scope, Send, page_policy
from transformer_jax.service.handlers import Handlers
from transformer_jax.service.kinds import Field, Text
from transformer_jax.service.limits import Limits
from transformer_jax.service.messages import (
  ATTENTION,
  DECODED,
  ENCODED,
  HEALTH,
  STEPS,
  TRANSLATIONS,
  VIEW,
  Messages,
)
from transformer_jax.service.openapi import HTML, JSON, WITH_BODY, Operation, document
from transformer_jax.service.problem import Problem
from transformer_jax.strict_json import json_text

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(
  model: TrainedModel,
  limits: Limits,
  hosts: Iterable[str],
  version: str,
  alignment_heads: Heads | None = None,
) -> App:
  """Returns the ASGI application that answers with a model.

  Args:
    model: the trained model.
    limits: the service's limits.
    hosts: names that requests may be for, besides those of the machine for itself.
    version: of the description.
    alignment_heads: those that align words; by default `runs.alignment.default_heads`.
  """
  handlers = Handlers(Engine(model, alignment_heads), limits)
  operations = _operations(model, handlers, limits)
  description = document(list(operations), version)

  async def describe(request: Request) -> Response:
    del request
    return _json(description)

  routes = [
    Route(each.path, _timed(endpoint, limits), methods=[each.method])
    for each, endpoint in operations.items()
  ]
  routes.append(Route("/openapi.json", describe, methods=["GET"]))

  @contextlib.asynccontextmanager
  async def lifespan(app: Any) -> AsyncIterator[None]:
    del app
    answering = asyncio.create_task(handlers.queue.run())
    yield
    answering.cancel()

  errors = {HTTPException: _http_error, Problem: _problem, Exception: _bug}
  app = Starlette(routes=routes, exception_handlers=errors, lifespan=lifespan)
  app.router.redirect_slashes = False
  return Guard(app, [*LOOPBACK, *hosts], _refuse_host)


def _operations(
  model: TrainedModel, handlers: Handlers, limits: Limits
) -> dict[Operation, Endpoint]:
  """Returns what is answered by what."""
  sizes = (model.task.source_vocab_size, model.task.target_vocab_size)
  messages = Messages(model.config, sizes, limits)
  posts = [
    ("/translate", "Translates lines, or parses them.", messages.translate, TRANSLATIONS),
    ("/attention", "Returns what each head attends to.", messages.attention, ATTENTION),
    ("/step", "Returns what the model expects at each place of an output.", messages.step, STEPS),
    ("/encode", "Returns the tokens of a sentence.", messages.encode, ENCODED),
    ("/decode", "Returns the text of an output's tokens.", messages.decode, DECODED),
    ("/view", "Returns what the page shows of a sentence.", messages.view, VIEW),
  ]
  found: dict[Operation, Endpoint] = {}
  for path, summary, request, answer in posts:
    operation = Operation("POST", path, summary, answer, request=request, problems=WITH_BODY)
    found[operation] = _answering(operation, getattr(handlers, path[1:]), limits)

  async def health(request: Request) -> Response:
    del request
    return _json(handlers.health())

  source = Field(Text(limits.max_characters), "the sentence to begin with", "")

  async def page(request: Request) -> Response:
    html = await handlers.page(source.kind.check(request.query_params.get("source", ""), "source"))
    return Response(html, media_type=HTML, headers={"content-security-policy": page_policy(html)})

  front = "Returns the explorer page."
  query = dict(source=source)
  found[Operation("GET", "/healthz", "Returns facts about the model.", HEALTH)] = health
  found[Operation("GET", "/", front, media=HTML, query=query, problems=(400, 413, 422, 503))] = page
  return found


def _answering(
  operation: Operation,
  handle: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
  limits: Limits,
) -> Endpoint:
  """Returns the endpoint that checks a body and answers it."""

  async def endpoint(request: Request) -> Response:
    assert operation.request
    asked = operation.request.check(await _read_json(request, limits.max_body_bytes), "")
    return _json(await handle(asked))

  return endpoint


def _timed(endpoint: Endpoint, limits: Limits) -> Endpoint:
  """Returns the endpoint with the limit of time, in which the body must come, too."""

  async def timed(request: Request) -> Response:
    try:
      async with asyncio.timeout(limits.max_seconds):
        return await endpoint(request)
    except TimeoutError:
      problem = f"found no answer in {limits.max_seconds} seconds"
      raise Problem(503, "the service", problem, "ask for less, or again later") from None

  return timed


async def _read_json(request: Request, max_bytes: int) -> Any:
  """Returns the value of a body.

  Raises:
    Problem: it is too large, or no JSON.
  """
  media, *_ = request.headers.get("content-type", "").partition(";")
  if media.strip().lower() != JSON:
    raise Problem(415, "Content-Type", f"is not {JSON}", f"send Content-Type: {JSON}")
  body = bytearray()
  try:
    async for chunk in request.stream():
      body += chunk
      if len(body) > max_bytes:
        raise Problem(413, "the body", f"has more than {max_bytes:,} bytes", "send less at once")
  except ClientDisconnect:  # nobody reads the answer
    raise Problem(400, "the body", "ends before its length", "send all of it") from None
  try:
    return json.loads(body.decode("utf-8"), parse_constant=_no_number)
  except (ValueError, RecursionError) as error:
    reason = " ".join(str(error).split())[:200]
    raise Problem(400, "the body", f"is not JSON: {reason}", "see /openapi.json") from None


def _no_number(name: str) -> NoReturn:
  raise ValueError(f"{name} is no number of JSON")


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
  return Response(json_text(value), status, headers, media_type=JSON)


async def _problem(request: Request, error: Problem) -> Response:
  del request
  shown = dict(where=error.where, problem=error.problem, remedy=error.remedy)
  headers = {"retry-after": "1"} if error.status == 503 else None
  return _json(dict(error=shown), error.status, headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
  shown = dict(
    where=ascii(request.url.path)[1:-1][:200], problem=error.detail, remedy="see /openapi.json"
  )
  return _json(dict(error=shown), error.status_code, error.headers)


async def _bug(request: Request, error: Exception) -> Response:
  """Answers an error of ours; the server writes its traceback."""
  del error
  return await _problem(request, Problem(500, "the service", "failed", "this is a bug: report it"))


async def _refuse_host(scope: Scope, receive: Receive, send: Send) -> None:
  shown = dict(
    where="Host", problem="is no name of this service", remedy="ask for its address or localhost"
  )
  await _json(dict(error=shown), 421)(scope, receive, send)
