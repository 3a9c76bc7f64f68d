"""Whether a server can be reached is known in seconds."""

import socket
import threading

import pytest

from transformer_jax.data.network import why_unreachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
  for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(name="server")
def listening_server():
  """The port of a server that accepts connections."""
  with socket.create_server(("127.0.0.1", 0)) as server:
    yield server.getsockname()[1]


def test_a_server_that_listens_is_reached(server):
  assert why_unreachable(f"http://127.0.0.1:{server}/x") is None


def test_a_closed_port_is_reported(server):
  with socket.create_server(("127.0.0.1", 0)) as other:
    port = other.getsockname()[1]
  assert why_unreachable(f"http://127.0.0.1:{port}") == "Connection refused"


def test_the_proxy_is_asked_instead(server, monkeypatch):
  monkeypatch.setenv("https_proxy", f"127.0.0.1:{server}")
  assert why_unreachable("https://host.invalid/x") is None


def test_a_silent_name_service_takes_no_longer(monkeypatch):
  """The answer is there while the name service is still being asked."""
  is_answered = threading.Event()

  def connect(*_, **__):
    is_answered.wait()
    raise OSError("too late")

  monkeypatch.setattr(socket, "create_connection", connect)
  assert why_unreachable("https://host.invalid", seconds=0.2) == "host.invalid does not answer"
  is_answered.set()


def test_a_port_that_is_not_a_number_is_reported():
  assert "ort" in (why_unreachable("http://host.invalid:port") or "")
