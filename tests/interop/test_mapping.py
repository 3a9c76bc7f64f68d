"""Names, shapes and transforms of the parameters; no package is needed for these."""

import math

import numpy as np
import pytest
from random_models import random_model

import transformer_jax
from transformer_jax.config import Config
from transformer_jax.interop import ctranslate2, huggingface
from transformer_jax.interop.parameters import (
  Parameters,
  into_heads,
  out_of_heads,
  sines_first,
  widened,
)
from transformer_jax.model.positions import sinusoids

SIZES = dict(num_layers=2, d_model=12, d_ff=20, num_heads=3, d_k=4, d_v=4)


@pytest.fixture(scope="module")
def run(trained):
  return transformer_jax.load(trained)


def model_of(run, **settings):
  return random_model(run.config, run.task.tokenizer, **{**SIZES, **settings})


def test_each_parameter_is_taken_once():
  tree = dict(a=np.ones(2), b=np.ones(3))
  parameters = Parameters(tree)
  parameters.take("a")[:] = 7
  assert tree["a"].tolist() == [1, 1]
  with pytest.raises(KeyError):
    parameters.take("a")
  with pytest.raises(ValueError, match="no place for: b"):
    parameters.check_all_taken()
  parameters.take("b")
  parameters.check_all_taken()


def test_matrices_of_heads():
  rng = np.random.default_rng(0)
  x_D, heads_HV = rng.standard_normal(5), rng.standard_normal((3, 4))
  kernel_DHK, kernel_HVD = rng.standard_normal((5, 3, 2)), rng.standard_normal((3, 4, 5))
  expected_HK = np.einsum("d,dhk->hk", x_D, kernel_DHK)
  np.testing.assert_allclose(into_heads(kernel_DHK) @ x_D, expected_HK.reshape(-1))
  expected_D = np.einsum("hv,hvd->d", heads_HV, kernel_HVD)
  np.testing.assert_allclose(out_of_heads(kernel_HVD) @ heads_HV.reshape(-1), expected_D)
  wide = widened(kernel_HVD, 6, axis=1)
  assert wide.shape == (3, 6, 5) and not wide[:, 4:].any()
  np.testing.assert_array_equal(wide[:, :4], kernel_HVD)


@pytest.mark.parametrize("d_k, d_v", [(4, 4), (2, 6), (7, 3)])
def test_widened_heads_attend_as_before(run, d_k, d_v):
  """Scores divided by the root of the common width, and joined values, are those of our kernels."""
  model = model_of(run, d_k=d_k, d_v=d_v)
  attention = model.params["encoder"]["layer_1"]["self_attention"]
  width = max(d_k, d_v)
  parameters = Parameters(model.params)
  name = "encoder.layer_1.self_attention"
  projections = ctranslate2._attention(parameters, name, width)
  query, key, value, out = (projection.weight for projection in projections)
  assert {matrix.shape for matrix in (query, key, value)} == {(3 * width, 12)}
  x_TD = np.random.default_rng(1).standard_normal((5, 12))
  project = lambda part: np.einsum("td,dhk->thk", x_TD, attention[part]["kernel"])
  expected = np.einsum("thk,shk->hts", project("query"), project("key")) / math.sqrt(d_k)
  heads = lambda matrix: (x_TD @ matrix.T).reshape(5, 3, width)
  found = np.einsum("thk,shk->hts", heads(query), heads(key)) / math.sqrt(width)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  joined = np.einsum("thv,hvd->td", project("value"), attention["out"]["kernel"])
  np.testing.assert_allclose(heads(value).reshape(5, -1) @ out.T, joined, rtol=1e-5, atol=1e-5)


def test_additional_biases_are_exported():
  """Biases of an imported model: those of queries are scaled, those of narrow heads are padded."""
  rng = np.random.default_rng(0)
  shapes = dict(query=(6, 3, 2), key=(6, 3, 2), value=(6, 3, 8), out=(3, 8, 6))
  biases = dict(query=(3, 2), key=(3, 2), value=(3, 8), out=(6,))
  draw = lambda shape: rng.standard_normal(shape).astype(np.float32)
  tree = {part: dict(kernel=draw(shapes[part]), bias=draw(biases[part])) for part in shapes}
  parameters = Parameters(dict(self_attention=tree))
  query, key, value, out = ctranslate2._attention(parameters, "self_attention", 8)
  parameters.check_all_taken()
  np.testing.assert_allclose(query.bias.reshape(3, 8)[:, :2], tree["query"]["bias"] * 2)
  np.testing.assert_array_equal(key.bias.reshape(3, 8)[:, :2], tree["key"]["bias"])
  assert not query.bias.reshape(3, 8)[:, 2:].any() and not key.bias.reshape(3, 8)[:, 2:].any()
  np.testing.assert_array_equal(value.bias, tree["value"]["bias"].reshape(-1))
  np.testing.assert_array_equal(out.bias, tree["out"]["bias"])


def test_positions_are_a_table(run):
  config = model_of(run).config.model
  expected = sinusoids(1024, 12, "sinusoidal")
  np.testing.assert_array_equal(ctranslate2._positions(config, Parameters({}), "source"), expected)
  learned = model_of(run, positions="learned", max_positions=50)
  table = ctranslate2._positions(learned.config.model, Parameters(learned.params), "target")
  ours = learned.params["target_positions"]["embedding"]
  np.testing.assert_allclose(table[:50], ours * math.sqrt(12), rtol=1e-6)
  assert table.shape == (1024, 12) and not table[50:].any()


def test_marian_features_are_sines_then_cosines():
  order_D = sines_first(8)
  frequencies = 10000.0 ** (-2.0 * np.arange(4) / 8)
  ours = sinusoids(3, 8, "sinusoidal")[:, order_D]
  np.testing.assert_allclose(ours[2, :4], np.sin(2 * frequencies), rtol=1e-6)
  np.testing.assert_allclose(ours[2, 4:], np.cos(2 * frequencies), rtol=1e-6)


EMBEDDINGS = {
  ("all", False): {"model.shared.weight"},
  ("all", True): {
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
  },
  ("target", False): {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"},
  ("none", False): {
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
  },
}
EMBEDDINGS["target", True] = EMBEDDINGS["none", True] = EMBEDDINGS["none", False]


@pytest.mark.parametrize("sharing, is_untied", EMBEDDINGS)
def test_marian_tensors(run, sharing, is_untied):
  model = model_of(run, embedding_sharing=sharing)
  params = model.params
  arrays = huggingface.make_arrays(model.config, params, is_untied)
  layers = {name for name in arrays if ".layers." in name}
  assert set(arrays) - layers == EMBEDDINGS[sharing, is_untied] | {"final_logits_bias"}
  # Encoder: 8 of attention, 2 of its norm, 4 of feed-forward, 2 of its norm; decoder: 10 more.
  assert len(layers) == 2 * (16 + 26)
  order_D = sines_first(12)
  target_name = "shared_embedding" if sharing == "all" else "target_embedding"
  target_CD = params[target_name]["embedding"]
  output_CD = params["output_projection"]["kernel"].T if sharing == "none" else target_CD
  decoder = "model.shared.weight" if sharing == "all" else "model.decoder.embed_tokens.weight"
  np.testing.assert_array_equal(arrays[decoder][:-1], target_CD[1:, order_D])
  assert not arrays[decoder][-1].any()
  bias = arrays["final_logits_bias"]
  assert bias.shape == (1, len(target_CD)) and not bias[0, :-1].any()
  if "lm_head.weight" in arrays:
    np.testing.assert_array_equal(arrays["lm_head.weight"][:-1], output_CD[1:, order_D])
    np.testing.assert_array_equal(arrays["lm_head.weight"][-1], output_CD[0, order_D])
    assert bias[0, -1] == 0
  else:
    assert bias[0, -1] == -1e4
  kernel = params["decoder"]["layer_1"]["cross_attention"]["out"]["kernel"]
  theirs = arrays["model.decoder.layers.1.encoder_attn.out_proj.weight"]
  np.testing.assert_array_equal(theirs[np.argsort(order_D)], kernel.reshape(12, 12).T)
  assert not any(arrays[name].any() for name in layers if name.endswith("_proj.bias"))


def test_marian_settings():
  config = Config().replace(embedding_sharing="target", beam_size=5, length_penalty=1.0)
  settings = huggingface.model_config(config, 100, is_untied=False)
  assert settings["tie_word_embeddings"] and not settings["share_encoder_decoder_embeddings"]
  assert settings["pad_token_id"] == settings["decoder_start_token_id"] == 99
  assert (settings["encoder_layers"], settings["decoder_ffn_dim"]) == (6, 2048)
  search = huggingface.generation_config(config, 100)
  assert (search["num_beams"], search["length_penalty"], search["early_stopping"]) == (
    5,
    1.0,
    "never",
  )
  assert "early_stopping" not in huggingface.generation_config(config.replace(beam_size=1), 100)
  assert huggingface.reordered(["<pad>", "</s>", "<unk>", "a"]) == ["</s>", "<unk>", "a", "<pad>"]


def test_a_parameter_without_a_place_stops_the_export(run):
  model = model_of(run)
  params = dict(model.params, adapter=dict(kernel=np.ones(3)))
  with pytest.raises(ValueError, match=r"no place for: adapter\.kernel"):
    huggingface.make_arrays(model.config, params)
