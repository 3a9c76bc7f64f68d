"""The service answers as the model does, and refuses in one form."""

import base64
import json
import threading
import zlib

import numpy as np
import pytest

from transformer_jax.runs.alignment import Aligner, default_heads
from transformer_jax.service.messages import (
  ATTENTION,
  ENCODED,
  HEALTH,
  PROBLEM,
  STEPS,
  TRANSLATIONS,
  VIEW,
)

LINES = ["forty two", "", "six"]


def refusal(answer):
  """Returns the refusal in an answer, which has the form that is described."""
  PROBLEM.check(answer, "")
  return answer["error"]


def test_translations_are_the_model_s(client, model):
  status, answer = client.post("/translate", dict(lines=LINES, num_best=2, beam_size=4))
  TRANSLATIONS.check(answer, "")
  expected = [[each.text for each in n_best] for n_best in model.n_best(LINES, 2)]
  assert status == 200
  assert [[each["text"] for each in n] for n in answer["translations"]] == expected
  assert answer["translations"][1] == []


def test_words_are_linked_as_by_the_command(client, model):
  asked = dict(lines=LINES, num_best=2, beam_size=4)
  heads = [dict(attention="cross", layer=1, head=2)]
  _, answer = client.post("/translate", dict(asked, alignment=True, closed_heads=heads))
  TRANSLATIONS.check(answer, "")
  closed = model.with_heads_closed([("cross", 0, 1)])
  aligner = Aligner(closed, default_heads(model.config.model))
  for line, found, n_best in zip(
    LINES, answer["translations"], closed.n_best(LINES, 2), strict=True
  ):
    links = list(aligner.links([(line, each.tokens, each.text) for each in n_best]))
    assert [each["alignment"] for each in found] == [[list(link) for link in one] for one in links]
  _, without = client.post("/translate", asked)
  assert "alignment" not in without["translations"][0][0]


def test_attention_is_that_of_attention_json(client, model):
  from transformer_jax.analysis.attention.maps import sentence_attention, to_json

  status, answer = client.post("/attention", dict(source="forty two", target="vier"))
  ATTENTION.check(answer, "")
  expected = to_json(sentence_attention(model, "forty two", "vier"))
  assert status == 200 and list(answer) == list(expected)
  for name in ("encoder", "decoder", "cross"):
    assert answer[name]["queries"] == expected[name]["queries"]
    assert answer[name]["keys"] == expected[name]["keys"]
    np.testing.assert_allclose(answer[name]["weights"], expected[name]["weights"], atol=1e-5)


def test_steps_of_an_open_prefix_and_of_a_whole_output(client, model):
  prefix = model.encode("vier", side="target")[:-1]
  asked = dict(source="forty two", prefix=prefix, num_rivals=3, beam_size=1)
  status, answer = client.post("/step", asked)
  STEPS.check(answer, "")
  assert status == 200 and len(answer["steps"]) == len(prefix) + 1
  assert [step["chosen"][0]["token"] for step in answer["steps"][:-1]] == prefix
  assert answer["steps"][-1]["chosen"] == [] and len(answer["steps"][-1]["rivals"]) == 3
  assert answer["target"] == "vier" and answer["cross"]["queries"][-1] == ""
  assert answer["source_tokens"] == model.encode("forty two")
  _, whole = client.post("/step", {**asked, "complete": True})
  STEPS.check(whole, "")
  tokens = [step["chosen"][0]["token"] for step in whole["steps"]]
  assert tokens[: len(prefix)] == prefix
  for step in whole["steps"][len(prefix) :]:  # greedy: the likeliest one
    assert step["chosen"][0] == step["rivals"][0]
  assert whole["steps"][len(prefix)]["rivals"] == [
    dict(rival, log_prob=pytest.approx(rival["log_prob"], abs=1e-4))
    for rival in answer["steps"][-1]["rivals"]
  ]


def test_heads_and_the_division_act(client, model):
  asked = dict(source="forty two", target="vier")
  _, usual = client.post("/attention", asked)
  heads = [dict(attention="encoder", layer=1, head=head) for head in (1, 2)]
  _, closed = client.post("/attention", dict(asked, closed_heads=heads))
  expected = model.with_heads_closed([("encoder", 0, 0), ("encoder", 0, 1)])
  expected = expected.attention("forty two", "vier")
  np.testing.assert_allclose(closed["cross"]["weights"], expected["cross"], atol=1e-5)
  assert np.abs(np.subtract(closed["cross"]["weights"], usual["cross"]["weights"])).max() > 1e-4
  _, undivided = client.post("/attention", dict(asked, divide=False))
  difference = np.subtract(undivided["encoder"]["weights"], usual["encoder"]["weights"])
  assert np.abs(difference).max() > 1e-4


def test_what_the_page_asks_for(client, model):
  _, encoded = client.post("/encode", dict(source="forty two"))
  ENCODED.check(encoded, "")
  tokens = model.encode("forty two")
  assert [each["token"] for each in encoded["tokens"]] == tokens
  assert [each["piece"] for each in encoded["tokens"]] == model.pieces(tokens)
  assert encoded["tokens"][-1]["text"] == ""
  _, empty = client.post("/encode", dict(source=""))
  assert [each["token"] for each in empty["tokens"]] == [1]
  output = model.encode("vier", side="target")
  assert client.post("/decode", dict(tokens=output)) == (200, dict(text="vier"))
  head = dict(attention="cross", layer=1, head=2)
  _, found = client.post("/view", dict(source="forty two", tokens=output, closed_heads=[head]))
  VIEW.check(found, "")
  place = found["attentions"]["encoder"]
  arrays = zlib.decompress(base64.b64decode(found["packed"]))
  S, H = len(tokens), model.config.model.num_heads
  weights = np.frombuffer(arrays, "<u2", H * S * S, place["weights"]).reshape(1, H, S, S)
  expected = model.attention("forty two", "vier")
  np.testing.assert_allclose(weights / 65535, expected["encoder"], atol=1e-4)
  query = place["vectors"][0]["query"]
  size = H * query["count"] * query["width"]
  vectors = np.frombuffer(arrays, "<f4", size, query["values"]).reshape(H, S, -1)
  np.testing.assert_allclose(vectors, expected["vectors"]["encoder"]["query"][0], atol=1e-4)


def test_a_whole_output_by_tokens_is_not_searched_for(client, model):
  source, output = model.encode("forty two"), model.encode("vier", side="target")
  asked = dict(source_tokens=source, prefix=output, complete=True)
  status, found = client.post("/step", asked)
  assert status == 200 and found["target"] == "vier"
  assert [step["chosen"][0]["token"] for step in found["steps"]] == output
  ((log_prob, _),) = model.log_probs([("forty two", "vier")])
  total = sum(step["chosen"][0]["log_prob"] for step in found["steps"])
  assert total == pytest.approx(log_prob, rel=1e-4)


def test_health_and_the_page(client, model):
  status, answer = client.get("/healthz")
  HEALTH.check(answer, "")
  assert status == 200 and answer["layers"] == model.config.model.num_layers
  status, headers, page = client.ask("GET", "/?source=forty+three")
  assert status == 200 and headers["content-type"].startswith("text/html")
  assert b'"source_text":"forty three"' in page and b'"server":{"layers":1' in page
  policy = headers["content-security-policy"]
  assert "sha256-" in policy and "script-src 'unsafe-inline'" not in policy


TRANSLATE = dict(lines=["six"])
REFUSED = [
  # (path, body, status, where, part of the problem or of the remedy)
  ("/translate", "{", 400, "the body", "is not JSON"),
  ("/translate", b'{"lines": ["\xff"]}', 400, "the body", "is not JSON"),
  ("/translate", "[" * 900, 400, "the body", "is not JSON"),
  ("/translate", '{"lines": [], "length_penalty": NaN}', 400, "the body", "NaN"),
  ("/translate", '{"lines": [], "length_penalty": 1e999}', 400, "length_penalty", "inf"),
  ("/translate", '{"lines": [], "beam_size": ' + "9" * 1900 + "}", 400, "beam_size", "above 4"),
  ("/translate", "7", 400, "the body", "is not an object"),
  ("/translate", dict(lines=["six"] * 4), 400, "lines", "at most 3"),
  ("/translate", dict(lines=["x" * 101]), 400, "lines[0]", "at most 100"),
  ("/translate", dict(lines=["six\nten"]), 400, "lines[0]", "line break"),
  ("/translate", '{"lines": ["\\ud800"]}', 400, "lines[0]", "surrogate"),
  ("/translate", dict(TRANSLATE, beam_size=5), 400, "beam_size", "above 4"),
  ("/translate", dict(TRANSLATE, closed_heads=[{}]), 400, "closed_heads[0].attention", "missing"),
  ("/translate", dict(TRANSLATE, num_best=3, beam_size=2), 422, "num_best", "exceeds beam_size=2"),
  ("/translate", dict(lines=["x y z " * 8] * 3), 413, "lines", "at most 60"),
  ("/translate", " " * 2000 + "{}", 413, "the body", "more than 2,000 bytes"),
  ("/attention", dict(source=" "), 422, "source", "is empty"),
  ("/attention", dict(source="six", target="x", prefix=[5]), 422, "prefix", "both given"),
  ("/attention", dict(source="six", target="x y " * 25), 413, "the answer", "attention weights"),
  ("/step", dict(source="six", prefix=[0]), 400, "prefix[0]", "below 1"),
  ("/step", dict(source="six", prefix=[70]), 400, "prefix[0]", "above"),
  ("/step", dict(source="six", prefix=[5, 1, 5]), 422, "the output", "after its end"),
  ("/step", dict(source="six", prefix=[5] * 90), 413, "the answer", "attention weights"),
  ("/step", {}, 422, "source", "is missing"),
  ("/step", dict(source_tokens=[5, 6]), 422, "source_tokens", "do not end in 1"),
  ("/step", dict(source_tokens=[1]), 422, "source_tokens", "do not end in 1"),
  ("/view", dict(source="six", tokens=[]), 422, "the output", "is empty"),
]


@pytest.mark.parametrize("path, body, status, where, words", REFUSED)
def test_a_limit_is_a_clear_refusal(client, path, body, status, where, words):
  found, answer = client.post(path, body)
  error = refusal(answer)
  assert (found, error["where"]) == (status, where)
  assert words in error["problem"] + error["remedy"]


def test_a_body_without_a_length_is_limited_too(client):
  def chunks():
    for _ in range(100):
      yield b" " * 1000

  status, _, answer = client.ask("POST", "/translate", chunks(), Content_Type="application/json")
  assert status == 413 and refusal(json.loads(answer))["where"] == "the body"


def test_other_paths_methods_and_types(client):
  for path in ("/nothing", "/translate/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//"):
    status, answer = client.get(path)
    assert status == 404 and refusal(answer)["problem"] == "Not Found"
  status, headers, answer = client.ask("GET", "/translate")
  assert status == 405 and headers["allow"] == "POST" and refusal(json.loads(answer))
  # What a browser sends for another site's page without asking first, and what it asks.
  for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
    status, _, answer = client.ask("POST", "/translate", '{"lines": []}', Content_Type=media)
    assert status == 415 and refusal(json.loads(answer))["where"] == "Content-Type"
  status, headers, _ = client.ask(
    "OPTIONS", "/translate", Origin="http://evil.example", Access_Control_Request_Method="POST"
  )
  assert status == 405 and not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
  "host, is_ours",
  [
    ("localhost", True),
    ("LOCALHOST:80", True),
    ("127.0.0.1:8765", True),
    ("[::1]:8765", True),
    ("service.example:8765", True),
    ("evil.example", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example:8765", False),
    ("evil.example#localhost", False),
    ("", False),
  ],
)
def test_only_names_of_this_service_are_answered(client, host, is_ours):
  status, headers, answer = client.ask("GET", "/healthz", Host=host)
  assert status == (200 if is_ours else 421)
  if not is_ours:
    assert refusal(json.loads(answer))["where"] == "Host"
  assert headers["x-content-type-options"] == "nosniff"
  assert "default-src 'none'" in headers["content-security-policy"]


def test_a_full_queue_and_slow_answers_are_503(blocked):
  client, begun, gate = blocked
  answers = []

  def ask():
    answers.append(client.post("/translate", TRANSLATE))

  threads = [threading.Thread(target=ask)]
  threads[0].start()
  assert begun.wait(60)
  threads.append(threading.Thread(target=ask))
  threads[1].start()
  while client.get("/healthz")[1]["waiting"] == 0 and threads[1].is_alive():
    pass
  found, _ = client.post("/translate", TRANSLATE)
  assert found == 503
  for thread in threads:
    thread.join(60)
  problems = {refusal(answer)["problem"] for status, answer in answers if status == 503}
  assert "found no answer in 3 seconds" in problems
  gate.set()
  assert client.post("/translate", TRANSLATE)[0] == 200


def test_who_is_being_answered_gets_the_answer_before_the_service_ends(blocked):
  client, begun, gate = blocked
  answers = []
  thread = threading.Thread(target=lambda: answers.append(client.post("/translate", TRANSLATE)))
  thread.start()
  assert begun.wait(60)
  client.server.should_exit = True
  gate.set()
  thread.join(60)
  assert answers[0][0] == 200
  client.thread.join(60)
  assert not client.thread.is_alive()
