"""The example of docs/other-models.md: a model of transformers becomes a page."""

import json
import pathlib
import re

import marian_folder as marian
import numpy as np
import pytest

from transformer_jax.analysis.attention.given_weights import read_attention
from transformer_jax.cli.main import run as command_line

pytestmark = pytest.mark.interop
torch = pytest.importorskip("torch", reason="needs torch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/other-models.md"


def test_a_marian_model_in_ten_lines(tmp_path, monkeypatch):
  marian.write_marian(tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
  assert "Helsinki-NLP/opus-mt-de-en" in block
  block = block.replace("Helsinki-NLP/opus-mt-de-en", str(tmp_path / "model"))
  block = block.replace("generate(**source)", "generate(**source, max_new_tokens=9)")
  names = {}
  exec(block, names)
  found = read_attention(tmp_path / "weights.json")
  assert {one.weights_NHTS.shape[:2] for one in found.maps.values()} == {
    (marian.LAYERS, marian.HEADS)
  }
  target = names["target"][0]
  assert len(found.maps["cross"].queries) == len(target) - 1
  expected = names["found"].cross_attentions[1][0].detach().numpy()
  np.testing.assert_allclose(found.maps["cross"].weights_NHTS[1], expected, atol=1e-6)
  assert command_line(["attention", "--from=weights.json", "--output=page"]) == 0
  assert json.loads((tmp_path / "page" / "attention.json").read_text())["encoder"]["keys"]
  assert (tmp_path / "page" / "attention.html").exists()


def test_a_decoder_alone(tmp_path):
  """GPT-2, as the page says: the words that are read are queries and keys."""
  config = transformers.GPT2Config(
    n_layer=2, n_head=3, n_embd=12, vocab_size=20, attn_implementation="eager"
  )
  tokens = torch.tensor([[3, 7, 1, 4]])
  output = transformers.GPT2Model(config).eval()(tokens, output_attentions=True)
  words = [str(token) for token in tokens[0].tolist()]
  weights = [layer[0].tolist() for layer in output.attentions]
  content = dict(decoder=dict(queries=words, keys=words, weights=weights))
  path = tmp_path / "weights.json"
  path.write_text(json.dumps(content), encoding="utf-8")
  assert read_attention(path).maps["decoder"].weights_NHTS.shape == (2, 3, 4, 4)


def test_an_encoder_alone(tmp_path):
  config = transformers.BertConfig(
    num_hidden_layers=2,
    num_attention_heads=3,
    hidden_size=12,
    intermediate_size=8,
    vocab_size=20,
    attn_implementation="eager",
  )
  tokens = torch.tensor([[3, 7, 1, 4]])
  output = transformers.BertModel(config).eval()(tokens, output_attentions=True)
  words = [str(token) for token in tokens[0].tolist()]
  weights = [layer[0].tolist() for layer in output.attentions]
  path = tmp_path / "weights.json"
  path.write_text(
    json.dumps(dict(encoder=dict(queries=words, keys=words, weights=weights))), encoding="utf-8"
  )
  assert read_attention(path).maps["encoder"].weights_NHTS.shape == (2, 3, 4, 4)
