"""A service in a thread, and a client for it."""

import contextlib
import http.client
import json
import threading
import time

from patience import PATIENCE

from transformer_jax.service.limits import Limits


class Client:
  """Asks a service on a port of this machine."""

  def __init__(self, port):
    self.port = port

  def ask(self, method, path, body=None, **headers):
    """Returns (status, headers in lower case, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
    with contextlib.closing(connection):
      connection.request(method, path, body, {n.replace("_", "-"): v for n, v in headers.items()})
      answer = connection.getresponse()
      names = {name.lower(): value for name, value in answer.getheaders()}
      return answer.status, names, answer.read()

  def post(self, path, value):
    """Returns (status, JSON) of a request in JSON."""
    body = value if isinstance(value, (str, bytes)) else json.dumps(value)
    status, _, answer = self.ask("POST", path, body, Content_Type="application/json")
    return status, json.loads(answer)

  def get(self, path):
    """Returns (status, JSON)."""
    status, _, answer = self.ask("GET", path)
    return status, json.loads(answer)


@contextlib.contextmanager
def served(model, limits=None):
  """Yields a Client of a service of the model, with `server`, which ends with the block."""
  import uvicorn

  from transformer_jax.service.routes import make_app
  from transformer_jax.service.server import bind

  app = make_app(model, limits or Limits(), ["service.example"], "0")
  listening = bind("127.0.0.1", 0)
  server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
  thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
  thread.start()
  end = time.monotonic() + PATIENCE
  while not server.started:
    assert time.monotonic() < end and thread.is_alive()
    time.sleep(0.01)
  client = Client(listening.getsockname()[1])
  client.server, client.thread = server, thread
  yield client
  server.should_exit = True
  thread.join(PATIENCE)
  assert not thread.is_alive()
