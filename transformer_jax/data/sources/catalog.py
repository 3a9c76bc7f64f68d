"""The text sources by name. A new source needs a `TextSource` class and a row in SOURCES.

Its name is also among the choices of `data_source` in `config/data.py`, and of its task in
`config/checks.py`: settings are checked without importing sources.
"""

from collections.abc import Callable

from transformer_jax.config import DataConfig
from transformer_jax.data.sources.grammar import GrammarTreebank
from transformer_jax.data.sources.huggingface import HuggingFaceSource
from transformer_jax.data.sources.numbers import NumbersSource
from transformer_jax.data.sources.parallel_text import ParallelText
from transformer_jax.data.sources.source import TextSource
from transformer_jax.data.sources.tfds import TfdsSource
from transformer_jax.data.sources.treebank import Treebank
from transformer_jax.files import StrPath


def _numbers(data: DataConfig, _: StrPath) -> NumbersSource:
  return NumbersSource(data.numbers_limit, data.numbers_train_size, data.numbers_all_below)


def _tfds(data: DataConfig, _: StrPath) -> TfdsSource:
  return TfdsSource(data)


def _grammar(data: DataConfig, _: StrPath) -> GrammarTreebank:
  return GrammarTreebank(data.grammar_train_size)


# --data_source -> function (DataConfig, data_root) -> TextSource
SOURCES: dict[str, Callable[[DataConfig, StrPath], TextSource]] = {
  "numbers": _numbers,
  "text": ParallelText,
  "tfds": _tfds,
  "huggingface": HuggingFaceSource,
  "treebank": Treebank,
  "grammar": _grammar,
}


def open_source(data: DataConfig, data_root: StrPath = ".") -> TextSource:
  """Returns the source that a DataConfig names.

  Args:
    data: the DataConfig.
    data_root: folder that relative paths start from.

  Raises:
    DataError: a dataset that is not there; files are read only when a split is.

  Example:
    source = open_source(Config().data)
    next(source.pairs("valid"))  # the first (source, target) texts
  """
  return SOURCES[data.data_source](data, data_root)
