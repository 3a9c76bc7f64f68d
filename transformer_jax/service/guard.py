"""What every request must pass and every answer carries: the Host check, and the headers."""

import base64
import hashlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The names of this machine for itself.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Where a service listens at all of the machine's addresses.
EVERYWHERE = ("0.0.0.0", "::")

_HEADERS = {
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
}
_NONE = "'none'"
_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Guard:
  """An ASGI application around another one.

  A page of another origin can make a browser send requests here, under a name that it lets point to
  this machine (DNS rebinding). Such a request carries that name as its Host, and is refused.

  Args:
    app: the application.
    hosts: the names that requests may be for. With one of EVERYWHERE they may be for any address:
      a name that was pointed here is still refused.
    refuse: the application that answers other requests.
  """

  def __init__(self, app: App, hosts: Iterable[str], refuse: App) -> None:
    self._app = app
    self._hosts = {host.lower() for host in hosts}
    self._takes_addresses = not self._hosts.isdisjoint(EVERYWHERE)
    self._refuse = refuse

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return

    async def send_guarded(message: Any) -> None:
      if message["type"] == "http.response.start":
        message["headers"] = _with_headers(message["headers"])
      await send(message)

    app = self._app if self._is_for_us(scope["headers"]) else self._refuse
    await app(scope, receive, send_guarded)

  def _is_for_us(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
      return False
    name = _without_port(hosts[0].decode("latin-1"))
    return name in self._hosts or (self._takes_addresses and _is_address(name))


def _is_address(name: str) -> bool:
  """Returns whether a name of a host is an address."""
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _without_port(host: str) -> str:
  """Returns the name in a Host header, "::1" for "[::1]:8765"."""
  if host.startswith("["):
    return host[1:].partition("]")[0].lower()
  return host.partition(":")[0].lower()


def _with_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
  """Returns the headers, and ours that are not among them."""
  headers = list(headers)
  present = {name for name, _ in headers}
  ours = {**_HEADERS, "content-security-policy": _NOTHING_ELSE}
  encoded = [(name.encode(), value.encode()) for name, value in ours.items()]
  return headers + [(name, value) for name, value in encoded if name not in present]


def page_policy(html: str) -> str:
  """Returns the Content-Security-Policy under which a page of ours runs its own scripts only."""
  hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in _SCRIPT.findall(html))
  return (
    f"{_NOTHING_ELSE}; script-src {hashes or _NONE}; style-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; form-action 'self'"
  )


def _sha256(text: str) -> str:
  return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
