"""`attention --from`: a file in the format of attention.json is shown, anything else is named."""

import json

import numpy as np
import pytest
from explorer_page import element, is_quiet, open_page, radio

from transformer_jax.analysis.attention.given_weights import read_attention
from transformer_jax.analysis.attention.maps import AttentionMap, SentenceAttention, to_json
from transformer_jax.cli.main import run as command_line
from transformer_jax.errors import DataError
from transformer_jax.model.head_gates import ATTENTIONS

SOURCE = ["▁ein", "▁Haus", "</s>"]
TARGET = ["▁a", "▁house", "</s>", "."]


def weights(rng, name, num_queries, num_keys):
  """Returns random weights of two layers and three heads."""
  scores = rng.normal(size=(2, 3, num_queries, num_keys))
  if name == "decoder":
    scores = np.where(np.tril(np.ones((num_queries, num_keys))) > 0, scores, -np.inf)
  shares = np.exp(scores)
  return (shares / shares.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def whole():
  rng = np.random.default_rng(3)
  words = dict(encoder=(SOURCE, SOURCE), decoder=(TARGET, TARGET), cross=(TARGET, SOURCE))
  maps = {
    name: AttentionMap(*words[name], weights(rng, name, *map(len, words[name])))
    for name in ATTENTIONS
  }
  return SentenceAttention("ein Haus", "a house", maps)


@pytest.fixture
def content(whole):
  return json.loads(json.dumps(to_json(whole)))


def written(tmp_path, content):
  path = tmp_path / "weights.json"
  path.write_text(json.dumps(content), encoding="utf-8")
  return path


def test_what_attention_writes_is_read_back(whole, content, tmp_path):
  found = read_attention(written(tmp_path, content))
  assert to_json(found) == content
  for name, one in found.maps.items():
    assert one.query_NHTK is None
    np.testing.assert_allclose(one.weights_NHTS, whole.maps[name].weights_NHTS, atol=1e-7)


def test_vectors_are_taken(content, tmp_path):
  rng = np.random.default_rng(4)
  shapes = dict(query=(2, 3, 4, 5), key=(2, 3, 3, 5), value=(2, 3, 3, 7))
  vectors = {name: rng.normal(size=shape).round(3) for name, shape in shapes.items()}
  content["cross"].update({name: array.tolist() for name, array in vectors.items()})
  cross = read_attention(written(tmp_path, content)).maps["cross"]
  np.testing.assert_allclose(cross.query_NHTK, vectors["query"], atol=1e-6)
  np.testing.assert_allclose(cross.value_NHSV, vectors["value"], atol=1e-6)


@pytest.mark.parametrize("names", [["encoder"], ["decoder"], ["cross"], ["encoder", "decoder"]])
def test_some_attentions_are_enough(content, tmp_path, names):
  """Also without texts, and with null in place of an attention."""
  some = {name: content[name] if name in names else None for name in ATTENTIONS}
  found = read_attention(written(tmp_path, some))
  assert list(found.maps) == names and found.source_text == ""
  assert set(found.labels()) == set(names)
  assert found.unknown_words() == []


CHANGES = {
  "an unknown name": (lambda c: c.update(crss={}), "weights.json", "unknown name 'crss'"),
  "an unknown part": (lambda c: c["cross"].update(vectors=[]), "cross", "name 'vectors'"),
  "no text": (lambda c: c.update(source=3), "source", "not a text"),
  "no attention": (lambda c: [c.pop(n) for n in ATTENTIONS], "weights.json", "has no attention"),
  "a list": (lambda c: c.update(cross=[]), "cross", "not a JSON object"),
  "no keys": (lambda c: c["cross"].pop("keys"), "cross", "no 'keys'"),
  "no words": (lambda c: c["cross"].update(keys=[]), "cross.keys", "list of texts"),
  "numbers": (lambda c: c["cross"].update(keys=[1, 2, 3]), "cross.keys", "list of texts"),
  "a key too many": (
    lambda c: c["cross"]["keys"].append("x"),
    "cross.weights[0][0][0]",
    "has 3 items, one for each key, but needs 4",
  ),
  "two kinds of words": (lambda c: c["encoder"]["keys"].pop(), "encoder", "3 queries and 2 keys"),
  "a head is missing": (
    lambda c: c["cross"]["weights"][1].pop(),
    "cross.weights[1]",
    "2 items, one for each head, but needs 3",
  ),
  "a row is missing": (
    lambda c: c["cross"]["weights"][1][2].pop(),
    "cross.weights[1][2]",
    "one for each query",
  ),
  "a number is missing": (
    lambda c: c["cross"]["weights"][1][2][3].pop(),
    "cross.weights[1][2][3]",
    "one for each key",
  ),
  "no number": (
    lambda c: c["cross"]["weights"][1][2][3].__setitem__(0, "0.5"),
    "cross.weights[1][2][3][0]",
    "is a text, not a number",
  ),
  "a boolean": (
    lambda c: c["cross"]["weights"][0][0][0].__setitem__(0, True),
    "cross.weights[0][0][0][0]",
    "is true, not a number",
  ),
  "no list": (lambda c: c["cross"].update(weights=0.5), "cross.weights", "is a number, not a list"),
  "no layers": (lambda c: c["cross"].update(weights=[]), "cross.weights", "is an empty list"),
  "scores": (
    lambda c: c["cross"]["weights"][0][1].__setitem__(2, [3.0, -1.5, 0.5]),
    "cross.weights[0][1][2][0]",
    "is 3, not a share",
  ),
  "no distribution": (
    lambda c: c["cross"]["weights"][0][1].__setitem__(2, [0.5, 0.5, 0.25]),
    "cross.weights[0][1][2]",
    "sums to 1.25, not to 1",
  ),
  "half a character": (
    lambda c: c["cross"]["keys"].__setitem__(0, "\ud800"),
    "cross.keys",
    "has half a surrogate pair: '\\ud800'",
  ),
  "a look ahead": (
    lambda c: c["decoder"]["weights"][1][0].__setitem__(1, [0.25, 0.25, 0.5, 0]),
    "decoder.weights[1][0][1][2]",
    "weight of a later word",
  ),
  "other sizes": (
    lambda c: c["cross"]["weights"].pop(),
    "cross.weights",
    "1 layers of 3 heads, but encoder has 2 layers of 3 heads",
  ),
  "half of the vectors": (
    lambda c: c["cross"].update(query=[], key=[]),
    "cross",
    "has 'query' and no 'value'",
  ),
  "other widths": (
    lambda c: c["cross"].update(
      query=np.zeros((2, 3, 4, 5)).tolist(),
      key=np.zeros((2, 3, 3, 4)).tolist(),
      value=np.zeros((2, 3, 3, 4)).tolist(),
    ),
    "cross.key",
    "4 columns, but the queries have 5",
  ),
  "vectors of other words": (
    lambda c: c["cross"].update(
      {n: np.zeros((2, 3, 3, 5)).tolist() for n in "query key value".split()}
    ),
    "cross.query[0][0]",
    "has 3 items, one for each word, but needs 4",
  ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_fault_is_named_with_its_place(content, tmp_path, name):
  change, place, problem = CHANGES[name]
  change(content)
  path = written(tmp_path, content)
  with pytest.raises(DataError) as caught:
    read_attention(path)
  where = str(path) if place == "weights.json" else f"{path}, {place}"
  assert caught.value.where == where
  assert problem in caught.value.problem


@pytest.mark.parametrize("text", ["", "[1]", '{"source": NaN}', "{", '"\ud800'])
def test_files_that_are_no_json(tmp_path, text):
  path = tmp_path / "weights.json"
  path.write_bytes(text.encode("utf-8", "surrogatepass"))
  with pytest.raises(DataError) as caught:
    read_attention(path)
  assert caught.value.where == str(path)


def test_the_command(content, tmp_path, capsys):
  path = written(tmp_path, {name: content[name] for name in ("source", "encoder")})
  assert command_line(["attention", f"--from={path}", "--layer=1"]) == 0
  folder = tmp_path / "attention"
  assert capsys.readouterr().out == f"{folder}/attention.html\n"
  names = {file.name for file in folder.iterdir()}
  assert {"attention.html", "attention.json", "encoder_maps.png", "encoder_one_head.pdf"} <= names
  assert not [name for name in names if name.startswith(("cross", "positional", "learning"))]
  assert json.loads((folder / "attention.json").read_text()) == dict(
    source="ein Haus", target="", encoder=content["encoder"]
  )


@pytest.mark.parametrize(
  "flags, code, problem",
  [
    (["--source=x"], 2, "--source"),
    (["--workdir=x"], 2, "--workdir"),
    (["--beam_size=2"], 2, "--beam_size"),
    (["--layer=3"], 2, "--layer=3: the model has 2"),
    (["--head=4"], 2, "--head=4: the model has 3"),
    (["--word=5"], 2, "--word=5: the output has 4"),
  ],
)
def test_flags_beside_it(content, tmp_path, capsys, flags, code, problem):
  assert command_line(["attention", f"--from={written(tmp_path, content)}", *flags]) == code
  assert problem in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capsys):
  assert command_line(["attention", f"--from={tmp_path}/none.json"]) == 3
  assert "cannot be read" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.parametrize("names", [["encoder"], ["decoder"], ["cross", "decoder"]])
def test_the_page_shows_what_there_is(browser, content, tmp_path, names):
  path = written(tmp_path, {name: content[name] for name in names})
  output = tmp_path / "page"
  assert command_line(["attention", f"--from={path}", f"--output={output}", "--nofigures"]) == 0
  html = (output / "attention.html").read_text(encoding="utf-8")
  opened = open_page(browser, html, tmp_path)
  radios = opened.find_elements("css selector", "#controls input[name=attention]")
  assert {r.get_attribute("value") for r in radios if r.is_displayed()} == set(names)
  assert [r.get_attribute("value") for r in radios if r.is_selected()] == [names[0]]
  for name, one in read_attention(path).maps.items():
    radio(opened, name)
    shown = opened.execute_script(f"return Array.from(weightsOf('{name}', 1, 2))")
    np.testing.assert_allclose(shown, one.weights_NHTS[1, 2].ravel(), atol=1e-5)
  assert element(opened, "no_vectors").is_displayed()
  assert is_quiet(opened)
