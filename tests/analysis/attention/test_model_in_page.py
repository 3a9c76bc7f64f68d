"""The page's model against Python's, in a real browser: tokens, log-probabilities, tokenizers."""

import dataclasses
import random
import unicodedata

import numpy as np
import pytest
from model_page import ModelPage, rounded_model, undivided
from random_models import LINES, hypotheses, is_as_good, random_model
from tiny_run import tiny_config

from transformer_jax.analysis.attention.model_in_page import (
  MAX_PARAMETERS,
  default_quantization,
  model_in_page,
  refusal,
)
from transformer_jax.config import EOS_ID
from transformer_jax.data.tokenizers.folder import train_tokenizer

pytestmark = pytest.mark.browser

CLOSE = 1e-4  # nats, of a whole translation
SMALL = dict(
  num_layers=2, d_model=24, d_ff=20, num_heads=3, d_k=8, d_v=8, beam_size=1, max_extra_length=6
)
FORMS = {
  "post": {},
  "pre, learned, narrow keys": dict(
    norm="pre",
    positions="learned",
    max_positions=40,
    max_extra_length=60,
    d_k=5,
    d_v=7,
    embedding_sharing="none",
  ),
  "gelu, biases, cosines last": dict(
    activation="gelu",
    attention_bias=True,
    output_bias=True,
    positions="sinusoidal_concatenated",
    embedding_sharing="target",
    layer_norm_epsilon=1e-3,
  ),
  "swish, no positions": dict(activation="swish", positions="none"),
}
# The files need not exist.
TEXT = dict(
  data_source="text", train_source="a", train_target="b", valid_source="c", valid_target="d"
)
TRAINING = [
  *LINES,
  "ein großes Haus",
  "日本語のテキスト",
  "eins zwei drei vier",
  "the end @@ of it",
]


@pytest.fixture(scope="module", params=["sentencepiece", "subword_nmt", "segmented"])
def tokenizer(request):
  """A tokenizer of each kind that a page has."""
  data = tiny_config(**TEXT, tokenizer=request.param, vocab_size=70, bpe_merges=40).data
  return train_tokenizer(data, TRAINING)


@pytest.fixture(scope="module")
def pieces():
  return train_tokenizer(tiny_config(vocab_size=70).data, TRAINING)


def made(pieces, **settings):
  return random_model(tiny_config(**SMALL).replace(**settings), pieces)


def check(page, model, lines, **switches):
  """Compares the page's translations with those of Python's model."""
  for line, theirs, ours in zip(
    lines, page.translations(lines, **switches), hypotheses(model, lines), strict=True
  ):
    tokens = [token for token in theirs["ids"] if token != EOS_ID]
    assert is_as_good(model, line, ours.tokens, tokens, CLOSE), line
    if tokens == ours.tokens:
      assert theirs["log_prob"] == pytest.approx(ours.log_prob, abs=CLOSE), line
      assert theirs["text"] == model.task.tokenizer.decode(ours.tokens), line


@pytest.mark.parametrize("form", FORMS)
def test_translations_are_those_of_python(form, pieces, browser, tmp_path):
  model = made(pieces, **FORMS[form])
  check(ModelPage(browser, tmp_path, model), model, LINES)


@pytest.mark.parametrize("quantization", ["int8", "float16"])
def test_a_rounded_model_is_that_of_the_same_rounded_parameters(
  quantization, pieces, browser, tmp_path
):
  model = made(pieces)
  page = ModelPage(browser, tmp_path, model, quantization)
  check(page, rounded_model(model, quantization), LINES)
  exact = hypotheses(model, LINES)
  found = page.translations(LINES)
  assert any(
    abs(one["log_prob"] - other.log_prob) > CLOSE for one, other in zip(found, exact, strict=True)
  )


def test_switches_act_as_in_python(pieces, browser, tmp_path):
  model = made(pieces)
  page = ModelPage(browser, tmp_path, model)
  plain = [one["log_prob"] for one in page.translations(LINES)]
  for attention in ("encoder", "decoder", "cross"):
    closed = [(attention, 1, 0), (attention, 0, 2)]
    check(page, model.with_heads_closed(closed), LINES, closed=closed)
    changed = [one["log_prob"] for one in page.translations(LINES, closed=closed)]
    assert changed != pytest.approx(plain, abs=CLOSE)
  check(page, undivided(model), LINES, is_scaled=False)


def odd_texts(count):
  """Returns texts of blanks, marks, combining signs, emoji and letters of many scripts."""
  rng = random.Random(5)
  texts = ["", " ", "  a  b ", "\t x", "▁", "a▁ ▁b", "</s> <unk> <pad>", "a@@ b", "@@", "\r\na\r"]
  texts += [
    "Ａｌｌｅｓ ①②③ ㍻ ｶﾞ ﷺ ﬁ",
    "e\u0301te\u0301",
    "a\u00a0b\u200bc\ufeffd",
    "\u3000全角\u3000",
  ]
  texts += ["👍🏽 👨\u200d👩\u200d👧", "x\0y", "a" * 200, "zwei" * 50]
  blocks = [(0x20, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x1100, 0x11FF), (0x2000, 0x206F)]
  blocks += [(0x2460, 0x24FF), (0x3000, 0x33FF), (0x4E00, 0x4E80), (0xAC00, 0xAC80)]
  blocks += [(0xFB00, 0xFDFF), (0xFE30, 0xFFEF), (0x1D400, 0x1D4FF), (0x1F300, 0x1F6FF)]
  for _ in range(count):
    letters = []
    for _ in range(rng.randint(1, 40)):
      first, last = rng.choice(blocks)
      usual = rng.choice("abdefhinorstuvwzß  ▁@</s>")
      letters.append(rng.choice([chr(rng.randint(first, last)), usual, usual]))
    texts.append("".join(letters))
  return texts


def test_token_ids_are_those_of_python(tokenizer, browser, tmp_path):
  model = made(tokenizer, **TEXT, tokenizer=tokenizer.kind)
  texts = [*TRAINING, *odd_texts(500)]
  found = ModelPage(browser, tmp_path, model).tokens(texts)
  expected = [[*tokenizer.encode(text), EOS_ID] for text in texts]
  different = [text for text, a, b in zip(texts, found, expected, strict=True) if a != b]
  assert different == []
  assert any(unicodedata.normalize("NFKC", text) != text for text in texts)


def test_every_setting_of_the_model_is_known_to_the_page(pieces):
  """A new one must be computed in transformer.js, or named here, or refused."""
  of_training = {"dropout_rate", "attention_dropout_rate", "relu_dropout_rate", "attention_init"}
  by_parameters = {"d_ff", "d_v", "max_positions", "attention_bias", "output_bias"}
  changes_no_result = {"attention_kernel", "rematerialize", "dtype"}
  config = tiny_config()
  packed = model_in_page(config, pieces, dict(bias=np.zeros(3, np.float32)))
  known = of_training | by_parameters | changes_no_result | set(packed["settings"])
  assert {field.name for field in dataclasses.fields(config.model)} == known


def test_what_a_page_cannot_compute_is_named(pieces):
  config = tiny_config()
  assert refusal(config, MAX_PARAMETERS) == ""
  assert "6,000,001 parameters" in refusal(config, MAX_PARAMETERS + 1)
  parsing = dict(task="parsing", data_source="grammar", embedding_sharing="none")
  assert "--task=parsing" in refusal(config.replace(**parsing), 1)
  assert "--tokenizer=marian" in refusal(config.replace(tokenizer="marian"), 1)
  large = dict(embedding=np.zeros((1001, 6000), np.float32))
  assert list(model_in_page(config, pieces, large)) == ["refusal"]
  assert default_quantization(1_000_000) == "float16"
  assert default_quantization(1_000_001) == "int8"
