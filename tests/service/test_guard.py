"""Which requests a service answers, by the name that they are for."""

import asyncio

import pytest

from transformer_jax.service.guard import Guard
from transformer_jax.service.problem import Problem


@pytest.mark.parametrize(
  "host, is_ours",
  [("10.1.2.3:8765", True), ("[fe80::1]:8765", True), ("box", True), ("evil.example", False)],
)
def test_a_service_at_all_addresses_answers_for_any_address_but_not_for_any_name(host, is_ours):
  answered = []

  async def answer(scope, receive, send):
    answered.append("ours")

  async def refuse(scope, receive, send):
    answered.append("refused")

  guard = Guard(answer, ["0.0.0.0", "box"], refuse)
  asyncio.run(guard(dict(type="http", headers=[(b"host", host.encode())]), None, None))
  assert answered == (["ours"] if is_ours else ["refused"])


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_bug():
  requests = pytest.importorskip("starlette.requests")
  from transformer_jax.service.routes import _read_json

  async def receive():
    return dict(type="http.disconnect")

  headers = [(b"content-type", b"application/json")]
  request = requests.Request(dict(type="http", method="POST", headers=headers), receive)
  with pytest.raises(Problem, match="ends before its length"):
    asyncio.run(_read_json(request, 100))
