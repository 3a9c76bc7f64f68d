"""What `attention` writes is the model's: weights against NumPy loops, figures, and a page that text cannot break out of."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import tiny_run

import transformer_jax
from transformer_jax.analysis.attention import page as attention_page
from transformer_jax.analysis.attention.maps import START, sentence_attention, to_json
from transformer_jax.cli.main import run as command_line
from transformer_jax.model.head_gates import ATTENTIONS
from transformer_jax.reference import attention as reference_attention
from transformer_jax.reference.transformer import transformer as reference_transformer
from transformer_jax.runs.train import train
from transformer_jax.runs.trained_model import TrainedModel

AWKWARD = (
  "<script>alert(1)</script> \"forty\" 'two' & </style> שלום \N{GRINNING FACE} /*DATA*/ \\u003c"
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """Two layers, d_k and d_v that differ."""
  folder = tmp_path_factory.mktemp("attention") / "run"
  train(
    tiny_run.tiny_config(
      num_layers=2,
      d_k=8,
      d_v=12,
      attention_kernel="reference",
      num_buckets=1,
      train_steps=20,
      checkpoint_every=20,
      bleu_sentences=0,
    ),
    folder,
    ".",
  )
  return folder


@pytest.fixture(scope="module")
def translator(workdir):
  return transformer_jax.load(workdir)


def data_of(html):
  return json.loads(
    re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1]
  )


def test_weights_are_those_of_numpy_loops(translator, monkeypatch):
  """From the checkpoint's parameters, every layer and head."""
  one = sentence_attention(translator, "two hundred forty two", "zweihundertzweiundvierzig")
  seen, original = [], reference_attention.attention_weights
  monkeypatch.setattr(
    reference_attention, "attention_weights", lambda *args: seen.append(original(*args)) or seen[-1]
  )
  task = translator.task
  reference_transformer(
    translator.params,
    task.encode_source("two hundred forty two"),
    task.encode_target("zweihundertzweiundvierzig"),
  )
  expected = dict(encoder=seen[:4], decoder=seen[4:6] + seen[8:10], cross=seen[6:8] + seen[10:12])
  for name, of_heads in expected.items():
    found = one.maps[name].weights_NHTS
    assert found.shape[:2] == (2, 2)
    np.testing.assert_allclose(found.reshape(4, *found.shape[2:]), np.stack(of_heads), atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(
      np.reshape(to_json(one)[name]["weights"], (4, *found.shape[2:])),
      np.stack(of_heads),
      atol=1e-5,
    )
  assert one.maps["decoder"].keys[0] == START and len(one.maps["decoder"].keys) == len(
    one.maps["decoder"].queries
  )
  assert np.triu(one.maps["decoder"].weights_NHTS[0, 0], 1).max() == 0


def test_vectors_give_the_weights(translator):
  for one in sentence_attention(translator, "forty two", "zweiundvierzig").maps.values():
    scores = np.einsum(
      "nhtk,nhsk->nhts", one.query_NHTK.astype(np.float64), one.key_NHSK
    ) / np.sqrt(one.query_NHTK.shape[-1])
    scores[one.weights_NHTS == 0] = -np.inf  # masked
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(-1, keepdims=True), one.weights_NHTS, atol=1e-5)


def test_padding_gets_nothing(translator):
  """In a batch the shorter sentence's padding has weight 0."""
  source = np.array([[5, 6, 7, 1], [5, 1, 0, 0]], np.int32)
  weights = translator.model.apply(
    {"params": translator.params}, source, source, method="attention_weights"
  )
  assert (
    np.asarray(weights["encoder"])[:, 1, :, :, 2:].max() == 0
    and np.asarray(weights["cross"])[:, 1, :, :, 2:].max() == 0
  )


def unpack(html):
  """The page's arrays, read as its script reads them."""
  data = data_of(html)
  return data, zlib.decompress(base64.b64decode(data["packed"]))


def test_the_pages_numbers_are_the_models(translator):
  attention = sentence_attention(translator, "six hundred seven", "sechshundertsieben")
  data, buffer = unpack(attention_page.page(attention))
  for name, one in attention.maps.items():
    packed, shape = data["attentions"][name], one.weights_NHTS.shape
    weights = (
      np.frombuffer(buffer, "<u2", int(np.prod(shape)), packed["weights"]).reshape(shape) / 65535
    )
    np.testing.assert_allclose(weights, one.weights_NHTS, atol=1e-5)
    for layer, vectors in enumerate(packed["vectors"]):
      for kind, array in (
        ("query", one.query_NHTK),
        ("key", one.key_NHSK),
        ("value", one.value_NHSV),
      ):
        about = vectors[kind]
        shape = array.shape[1:]
        assert (about["count"], about["width"]) == shape[1:]
        np.testing.assert_array_equal(
          np.frombuffer(buffer, "<f4", int(np.prod(shape)), about["values"]).reshape(shape),
          array[layer],
        )


def test_text_stays_text(translator):
  html = attention_page.page(sentence_attention(translator, AWKWARD, AWKWARD))
  data = data_of(html)
  assert data["source_text"] == data["target_text"] == AWKWARD
  assert (
    html.count("</script>") == 2 and html.count("<script") == 2 and "alert(1)</script>" not in html
  )
  assert not re.search(r"https?://|src=|href=|@import|url\(", html)


def test_a_page_is_json_whatever_importance_is(translator):
  head = dict(
    attention="cross", layer=0, head=0, importance=float("nan"), masked_perplexity=float("inf")
  )
  html = attention_page.page(
    sentence_attention(translator, "forty", "vierzig"), dict(perplexity=float("inf"), heads=[head])
  )
  text = html.partition('id="data">')[2].partition("</script>")[0]
  words = []
  found = json.loads(text, parse_constant=words.append)["importance"]
  assert not words and found["perplexity"] is None
  assert found["heads"][0]["masked_perplexity"] is None


def test_a_page_that_would_be_too_large_leaves_out_vectors(translator, monkeypatch):
  attention = sentence_attention(translator, "forty two", "zweiundvierzig")
  whole = len(attention_page.page(attention))
  monkeypatch.setattr(attention_page, "MAX_PACKED_BYTES", 100)
  small = attention_page.page(attention)
  assert len(small) < whole and data_of(small)["attentions"]["cross"]["vectors"] == [None, None]


def test_the_command_writes_page_data_and_figures(workdir, tmp_path, capsys):
  (workdir / "heads").mkdir(exist_ok=True)
  importance = dict(
    steps=[20],
    perplexity=2.0,
    heads=[
      dict(attention=a, layer=n, head=h, importance=0.1, masked_perplexity=2.1)
      for a in ATTENTIONS
      for n in range(2)
      for h in range(2)
    ],
  )
  (workdir / "heads" / "heads.json").write_text(json.dumps(importance))
  assert (
    command_line(
      [
        "attention",
        f"--workdir={workdir}",
        "--source=forty two $5",
        "--target=zweiundvierzig",
        f"--output={tmp_path}",
        "--layer=1",
        "--head=2",
        "--word=2",
      ]
    )
    == 0
  )
  assert capsys.readouterr().out == f"{tmp_path}/attention.html\n"
  data = json.loads((tmp_path / "attention.json").read_text())
  assert data["source"] == "forty two $5" and np.shape(data["cross"]["weights"]) == (
    2,
    2,
    len(data["cross"]["queries"]),
    len(data["cross"]["keys"]),
  )
  names = {
    f"{a}_{kind}" for a in ATTENTIONS for kind in ("all_heads", "one_head", "one_word", "maps")
  } | {"positional_encoding", "learning_rate"}
  assert {path.name for path in tmp_path.iterdir()} == {
    f"{name}.{end}" for name in names for end in ("png", "pdf")
  } | {"attention.html", "attention.json"}
  assert data_of((tmp_path / "attention.html").read_text())["importance"]["perplexity"] == 2.0


def test_a_file_of_sentences(workdir, tmp_path, monkeypatch):
  """Each with the model's own output, which is made up here: a model that has learned little may say nothing."""
  monkeypatch.setattr(
    TrainedModel, "translate", lambda self, sentences, *_: ["zwei" for _ in sentences]
  )
  (tmp_path / "in").write_text("forty two\n\nseven\n")
  assert (
    command_line(
      [
        "attention",
        f"--workdir={workdir}",
        f"--input={tmp_path / 'in'}",
        f"--output={tmp_path / 'out'}",
        "--nofigures",
      ]
    )
    == 0
  )
  assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1", "3"]


@pytest.mark.parametrize(
  "flags, code, problem",
  [
    ([], 2, "give a sentence"),
    (["--source=a", "--input=b"], 2, "give a sentence"),
    (["--source=forty", "--layer=3"], 2, "the model has 2"),
    (["--source=forty", "--head=0"], 2, "1 to 2"),
    (["--source=forty", "--word=0"], 2, "--word"),
    (["--source= "], 3, "nothing to look at"),
  ],
)
def test_what_cannot_be_shown(workdir, tmp_path, capsys, flags, code, problem):
  assert command_line(["attention", f"--workdir={workdir}", f"--output={tmp_path}", *flags]) == code
  assert problem in capsys.readouterr().err


def test_importance_that_is_none(workdir, tmp_path, capsys):
  (workdir / "heads").mkdir(exist_ok=True)
  (workdir / "heads" / "heads.json").write_text("[]")
  assert (
    command_line(["attention", f"--workdir={workdir}", "--source=forty", f"--output={tmp_path}"])
    == 3
  )
  (workdir / "heads" / "heads.json").unlink()
