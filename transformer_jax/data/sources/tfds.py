"""Pairs of sentences from a TensorFlow dataset by name, read from array_record without TensorFlow.

Only the one-time download needs TensorFlow (extra `prepare`). A dataset that was prepared elsewhere
needs only its folder.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Any

from transformer_jax.config import DataConfig, split_list
from transformer_jax.data.network import why_unreachable
from transformer_jax.errors import DataError, MissingDataError

_PER_READ = 1000  # examples of one read; read one by one, each takes three times as long


class TfdsSource:
  """A translation dataset such as wmt14_translate/de-en."""

  def __init__(self, data: DataConfig) -> None:
    self._name = data.tfds_name
    self._source_language = data.source_language
    self._target_language = data.target_language
    train, valid, test = split_list(data.tfds_splits)
    self._splits: dict[str, str] = dict(train=train, valid=valid, test=test)
    self._builder = _builder(data.tfds_name, data.tfds_data_dir or None)

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (source, target), in the dataset's order."""
    for example in self._examples(self._splits[split]):
      source = self._text(example, self._source_language, "source_language")
      target = self._text(example, self._target_language, "target_language")
      yield source, target

  def fingerprint(
    self,
    split: str,
    by_content: bool = False,  # noqa: ARG002 (no text is read)
  ) -> str:
    """Returns the SHA-256 of the dataset's name, version and split, and its splits' sizes."""
    info = self._builder.info
    sizes = {name: (part.num_examples, part.num_bytes) for name, part in info.splits.items()}
    identity = (self._name, str(info.version), self._splits[split], sorted(sizes.items()))
    return hashlib.sha256(repr(identity).encode()).hexdigest()

  def count(self, split: str) -> int:
    """Returns the number of examples, as the dataset's description has it."""
    return self._builder.info.splits[self._splits[split]].num_examples

  def _examples(self, split):
    """Yields the examples of one of the dataset's own splits."""
    try:
      examples = self._builder.as_data_source(split=split)
      for start in range(0, len(examples), _PER_READ):
        yield from examples.__getitems__(range(start, min(start + _PER_READ, len(examples))))
    except Exception as error:  # the library raises many kinds: unknown splits, damaged files
      raise DataError(f"--tfds_splits={split}", f"{self._name} cannot give it: {error}") from None

  def _text(self, example, language, flag):
    """Returns the text of an example in a language, on one line."""
    if language not in example:
      languages = ", ".join(sorted(example))
      raise DataError(f"--{flag}={language}", f"{self._name} has {languages}", "name one of them")
    value = example[language]
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return " ".join(text.splitlines())


def _builder(name: str, data_dir: str | None) -> Any:
  """Returns the dataset's builder, prepared; downloads what is missing."""
  try:
    import tensorflow_datasets as tfds  # noqa: PLC0415 (only this source needs it)
    import tensorflow_datasets.translate  # noqa: PLC0415
  except ImportError as error:
    raise DataError(
      "--data_source=tfds",
      f"tensorflow-datasets is not installed ({error})",
      "pip install tensorflow-datasets",
    ) from None
  try:
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    if not builder.info.splits:
      _check_network(builder)
      builder.download_and_prepare(file_format="array_record")
    return builder
  except Exception as error:  # unknown names, no network, no TensorFlow: all have different classes
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    raise MissingDataError(
      f"--tfds_name={name}",
      f"cannot be read or downloaded: {first_line}",
      "give --tfds_data_dir with a dataset prepared as array_record; the download needs internet "
      "and pip install 'transformer_jax[prepare]'",
    ) from None


def _check_network(builder: Any) -> None:
  """Raises an OSError at once if a download would fail; the library would retry for minutes."""
  url = next(iter(builder.url_infos), None)
  downloads = pathlib.Path(builder.data_dir).parents[2] / "downloads"
  if url is None or (downloads.is_dir() and any(downloads.iterdir())):
    return
  if why := why_unreachable(url):
    raise OSError(f"{url} cannot be reached ({why})")
