"""Where pairs of texts come from. To add a source: a class with `pairs` and `fingerprint`, and a row in SOURCES."""

from transformer_jax.data.sources.grammar import GrammarTreebank
from transformer_jax.data.sources.numbers import NumbersSource
from transformer_jax.data.sources.parallel_text import ParallelText
from transformer_jax.data.sources.tfds import TfdsSource
from transformer_jax.data.sources.treebank import Treebank

SOURCES = {
  "numbers": lambda data, data_root: NumbersSource(
    data.numbers_limit, data.numbers_train_size, data.numbers_all_below
  ),
  "text": ParallelText,
  "tfds": lambda data, data_root: TfdsSource(data),
  "treebank": Treebank,
  "grammar": lambda data, data_root: GrammarTreebank(data.grammar_train_size),
}


def open_source(data, data_root="."):
  """The source of a DataConfig.

  Returns:
    An object with `pairs(split)`, which yields (source, target) texts (of a treebank: words between spaces, tree), and `fingerprint(split)`, a hex SHA-256 that
    changes with the text. Splits are "train", "valid" and "test".

  Raises:
    DataError: files or datasets that are not there.
  """
  return SOURCES[data.data_source](data, data_root)
