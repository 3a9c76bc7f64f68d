"""Services with small limits."""

import dataclasses
import threading

import pytest
from patience import PATIENCE
from service_client import served

import transformer_jax
from transformer_jax.runs.search import Answer
from transformer_jax.service.engine import Engine
from transformer_jax.service.limits import Limits
from transformer_jax.tasks.task import Output


@pytest.fixture(scope="session")
def needs_packages():
  """Skips where the extra `serve` is not installed."""
  for name in ("starlette", "uvicorn"):
    pytest.importorskip(name, reason=f"needs the package {name}: pip install '.[serve]'")


@pytest.fixture(scope="module")
def model(trained):
  return transformer_jax.load(trained)


SMALL = Limits(
  max_body_bytes=2000,
  max_lines=3,
  max_characters=100,
  max_tokens=60,
  max_beam_size=4,
  max_weights=9000,  # an output of a barely trained model may be long
)


@pytest.fixture(scope="module")
def client(needs_packages, model):
  """A Client of a service with small limits."""
  with served(model, SMALL) as found:
    yield found


@pytest.fixture
def blocked(needs_packages, model, monkeypatch):
  """Yields (Client, begun, gate) of a service whose searches wait for the gate; one may wait."""

  begun, gate = threading.Event(), threading.Event()

  def waiting(engine, search, sentences):
    begun.set()
    assert gate.wait(PATIENCE)
    return [[Answer(Output("an answer"), -1.0, -1.0)] for _ in sentences]

  monkeypatch.setattr(Engine, "search", waiting)
  limits = dataclasses.replace(SMALL, max_waiting=1, max_seconds=3)
  with served(model, limits) as found:
    yield found, begun, gate
    gate.set()
