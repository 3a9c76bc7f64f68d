"""A client of the service."""

import contextlib
import http.client
import json

from patience import PATIENCE


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
