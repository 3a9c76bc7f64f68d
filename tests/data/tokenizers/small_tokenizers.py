"""Tokenizers of all kinds, learned from a few sentences."""

from transformer_jax.config import Config
from transformer_jax.data.tokenizers.folder import train_tokenizer

TEXTS = [
  "the cat sat on the mat",
  "die katze saß auf der matte",
  "the mat sat on the cat",
  "die matte saß auf der katze",
] * 3
KINDS = ("sentencepiece", "subword_nmt", "segmented")
_SETTINGS = dict(
  data_source="text",
  train_source="a",
  train_target="b",
  valid_source="c",
  valid_target="d",
  vocab_size=50,
  bpe_merges=20,
)


def settings(**values):
  """Returns a DataConfig."""
  return Config().replace(**{**_SETTINGS, **values}).data


def trained(kind, texts=TEXTS, data_root=".", **values):
  """Returns a tokenizer of a kind, learned from texts."""
  return train_tokenizer(settings(tokenizer=kind, **values), iter(texts), data_root)
