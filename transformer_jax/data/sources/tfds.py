"""Pairs of sentences from a TensorFlow dataset by name, read without TensorFlow from array_record files.

Only the one-time download needs TensorFlow (extra `prepare`); a dataset prepared elsewhere needs its folder alone.
"""

import hashlib

from transformer_jax.config import split_list
from transformer_jax.errors import DataError

_PER_READ = 1000  # examples: single reads cost three times as much each


class TfdsSource:
  """A translation dataset such as wmt14_translate/de-en."""

  def __init__(self, data):
    self._name = data.tfds_name
    self._languages = data.source_language, data.target_language
    self._splits = dict(zip(("train", "valid", "test"), split_list(data.tfds_splits), strict=True))
    self._builder = _builder(data.tfds_name, data.tfds_data_dir or None)

  def pairs(self, split):
    """Yields (source, target), in the dataset's order."""
    for example in self._examples(self._splits[split]):
      yield self._side(example, 0), self._side(example, 1)

  def _examples(self, split):
    try:
      examples = self._builder.as_data_source(split=split)
      for start in range(0, len(examples), _PER_READ):
        yield from examples.__getitems__(range(start, min(start + _PER_READ, len(examples))))
    except (
      Exception
    ) as error:  # the library raises many kinds for an unknown split or damaged files
      raise DataError(f"--tfds_splits={split}", f"{self._name} cannot give it: {error}") from None

  def fingerprint(self, split):
    """SHA-256 of the dataset's name, version and split, with the sizes its metadata gives."""
    info = self._builder.info
    sizes = {name: (part.num_examples, part.num_bytes) for name, part in info.splits.items()}
    return hashlib.sha256(
      repr((self._name, str(info.version), self._splits[split], sorted(sizes.items()))).encode()
    ).hexdigest()

  def _side(self, example, side):
    language = self._languages[side]
    if language not in example:
      flag = ("source", "target")[side]
      raise DataError(
        f"--{flag}_language={language}",
        f"{self._name} has {', '.join(sorted(example))}",
        "name one of them",
      )
    value = example[language]
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return " ".join(text.splitlines())


def _builder(name, data_dir):
  """The dataset's builder, prepared; downloads if it is not there yet."""
  try:
    import tensorflow_datasets as tfds
    import tensorflow_datasets.translate
  except ImportError as error:
    raise DataError(
      "--data_source=tfds",
      f"tensorflow-datasets is not installed ({error})",
      "pip install tensorflow-datasets",
    ) from None
  try:
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    if not builder.info.splits:
      builder.download_and_prepare(file_format="array_record")
    return builder
  except Exception as error:  # unknown names, no network, no TensorFlow to unpack archives: each with its own class
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    raise DataError(
      f"--tfds_name={name}",
      f"cannot be read or downloaded: {first_line}",
      "give --tfds_data_dir with a dataset prepared as array_record; for the download: internet and pip install "
      "'transformer_jax[prepare]'",
    ) from None
