"""The socket of the service, and its end."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn  # pyright: ignore[reportMissingImports]  # the extra `serve` brings it

from transformer_jax.errors import ConfigError
from transformer_jax.interrupt import SignalHandling, leave

_SECONDS_TO_FINISH = 10  # for requests that are being answered when a signal comes


def bind(host: str, port: int) -> socket.socket:
  """Returns the socket to listen on.

  Raises:
    ConfigError: the machine has no such address, or the port is taken.
  """
  try:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
  except (OSError, UnicodeError) as error:
    raise ConfigError(f"--host={host}", f"cannot be found: {error}", "give an address") from None
  found = socket.socket(family, socket.SOCK_STREAM)
  found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    found.bind(address)
  except OSError as error:
    found.close()
    raise ConfigError(
      f"--port={port}", f"{host}:{port} cannot be used: {error.strerror}", "give another --port"
    ) from None
  return found


def serve(app: Any, listening: socket.socket, url: str) -> int:
  """Answers until a signal comes; requests that are being answered then are finished.

  A second signal ends the process at once.

  Args:
    app: the ASGI application.
    listening: from `bind`.
    url: printed once requests are answered.

  Returns:
    The exit code: 128 + the number of the signal.
  """
  config = uvicorn.Config(
    app,
    log_level="warning",
    access_log=False,
    proxy_headers=False,
    server_header=False,
    ws="none",
    timeout_graceful_shutdown=_SECONDS_TO_FINISH,
  )
  server = _Server(config, url)
  with SignalHandling(server.stop):
    asyncio.run(server.serve([listening]))
  return 128 + server.signal_number if server.signal_number else 1


class _Server(uvicorn.Server):
  """A server whose signals come from `interrupt`."""

  signal_number: int

  def __init__(self, config: Any, url: str) -> None:
    super().__init__(config)
    self.signal_number = 0
    self._url = url

  def stop(self, number: int) -> None:
    """Ends the service after the answers in progress; the second time, at once."""
    if self.signal_number:
      leave(number)
    self.signal_number = number
    self.should_exit = True

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Installs no handlers."""
    yield

  async def startup(self, sockets: list[socket.socket] | None = None) -> None:
    """Begins to listen, and says so."""
    await super().startup(sockets)
    print(f"answering on {self._url} (Ctrl-C stops)", flush=True)
