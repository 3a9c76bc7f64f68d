"""The page of an imported model, by the command, in a real browser."""

import marian_folder as marian
import pytest
from explorer_page import check_weights, choose, click, element, is_quiet, open_page, pixels

import transformer_jax
from transformer_jax.analysis.attention.maps import sentence_attention
from transformer_jax.cli import main

pytestmark = pytest.mark.browser
pytest.importorskip("safetensors", reason="needs safetensors")

SOURCE, TARGET = ">>deu<< the small frog", "der frosch"


@pytest.mark.slow
def test_it_draws_and_shows_the_weights_of_the_model(browser, tmp_path):
  """Biases of queries and keys are part of the vectors that it multiplies."""
  marian.write_marian(tmp_path / "model")
  run, output = tmp_path / "run", tmp_path / "page"
  assert main.run(["import", f"--from={tmp_path}/model", f"--workdir={run}"]) == 0
  flags = [f"--source={SOURCE}", f"--target={TARGET}", f"--output={output}", "--nofigures"]
  assert main.run(["attention", f"--workdir={run}", *flags]) == 0
  html = (output / "attention.html").read_text(encoding="utf-8")
  opened = open_page(browser, html, tmp_path)
  assert element(opened, "sentence").text == f"{SOURCE} → {TARGET}"
  words = [button.text for button in opened.find_elements("css selector", "#keys button")]
  assert words[0] == ">>deu<<"
  check_weights(opened, sentence_attention(transformer_jax.load(run), SOURCE, TARGET))
  click(opened, element(opened, "all_heads"))
  pictures = set()
  for layer in range(marian.LAYERS):
    choose(opened, "layer", layer)
    pictures |= {pixels(opened, name) for name in ("lines_canvas", "map")}
  assert len(pictures) == 2 * marian.LAYERS
  click(opened, element(opened, "one_head"))
  assert pixels(opened, "map") not in pictures
  assert is_quiet(opened)
