"""The text that each token stands for, when a line is encoded and when tokens are decoded."""

import pytest
from small_tokenizers import TEXTS, trained

from transformer_jax.config import UNK_ID

KINDS = ["sentencepiece", "subword_nmt", "segmented"]


def squeezed(texts):
  return "".join(texts).replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [TEXTS[0], "漢字 the cat"])
def test_texts_of_a_line(kind, text):
  tokenizer = trained(kind)
  texts = tokenizer.texts(text)
  assert len(texts) == len(tokenizer.encode(text))
  assert squeezed(texts) == squeezed(text)  # the unknown too


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_tokens(kind):
  tokenizer = trained(kind)
  tokens = [*tokenizer.encode(TEXTS[0]), UNK_ID, *tokenizer.encode(TEXTS[1])]
  texts = tokenizer.texts_of(iter(tokens))
  assert len(texts) == len(tokens)
  assert squeezed(texts) == squeezed(tokenizer.decode(tokens))
