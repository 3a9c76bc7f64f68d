"""Asks whether a server can be reached, so that libraries do not retry for minutes without one."""

import importlib
import socket
import threading
import urllib.parse
import urllib.request

_SECONDS = 4.0
_PORTS = dict(http=80, https=443, ftp=21)


def why_unreachable(url: str, seconds: float = _SECONDS) -> str | None:
  """Returns why a URL's server, or the proxy before it, cannot be reached; None if it can.

  The answer takes `seconds` at most, even if the name service does not answer.

  Example:
    why_unreachable("https://huggingface.co")  # None, or "Name or service not known"
  """
  parts = urllib.parse.urlsplit(url)
  proxy = urllib.request.getproxies().get(parts.scheme)
  if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
    parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
  try:
    address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443))
  except ValueError as error:
    return str(error)
  answers: list[str | None] = []

  def connect() -> None:
    try:
      socket.create_connection(address, timeout=seconds).close()
      answers.append(None)
    except OSError as error:
      answers.append(error.strerror or str(error))

  # A thread, as asking the name service has no time limit of its own.
  thread = threading.Thread(target=connect, daemon=True)
  thread.start()
  thread.join(seconds)
  return answers[0] if answers else f"{address[0]} does not answer"


def why_no_hub() -> str | None:
  """Returns why the Hugging Face Hub is not asked; None: it can be reached.

  ImportError if the library huggingface_hub is not installed.
  """
  settings = importlib.import_module("huggingface_hub.constants")
  if settings.HF_HUB_OFFLINE:
    return "HF_HUB_OFFLINE is set"
  return why_unreachable(settings.ENDPOINT)
