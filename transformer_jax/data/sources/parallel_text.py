"""Pairs of sentences from text files that are parallel line by line."""

import hashlib
import itertools
import pathlib
from collections.abc import Iterator

from transformer_jax.config import DataConfig
from transformer_jax.data.fingerprints import count_lines
from transformer_jax.data.text import expand_files, hash_file, read_lines
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath


class ParallelText:
  """Text files, parallel line by line; several files of a split are read one after another."""

  def __init__(self, data: DataConfig, data_root: StrPath) -> None:
    self._data = data
    self._data_root = data_root

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (source, target).

    Raises:
      DataError: the files of a pair have different numbers of lines.
    """
    for source_file, target_file in zip(*self._files(split), strict=True):
      lines = itertools.zip_longest(read_lines(source_file), read_lines(target_file))
      for number, (source, target) in enumerate(lines, 1):
        if source is None:
          raise _no_partner(target_file, source_file, number)
        if target is None:
          raise _no_partner(source_file, target_file, number)
        yield source, target

  def fingerprint(self, split: str, by_content: bool = False) -> str:
    """Returns the SHA-256 of the bytes of the split's files."""
    total = hashlib.sha256()
    for files in self._files(split):
      for path in files:
        total.update(hash_file(path, by_content))
      total.update(b"|")
    return total.hexdigest()

  def count(self, split: str) -> int | None:
    """Returns the number of lines of the source files; None if one of them is compressed."""
    sources, _ = self._files(split)
    counts = [count_lines(path) for path in sources]
    return None if None in counts else sum(filter(None, counts))

  def _files(self, split) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Returns the source files and the target files; those of other splits need not exist."""
    sources = self._side_files(split, "source")
    targets = self._side_files(split, "target")
    if len(sources) != len(targets):
      raise DataError(
        f"--{split}_target",
        f"matches {len(targets)} files, but --{split}_source matches {len(sources)}",
        "give the same number",
      )
    return sources, targets

  def _side_files(self, split, side):
    return expand_files(self._data.files(split, side), self._data_root, f"{split}_{side}")


def _no_partner(longer, shorter, number):
  """Returns the error for line `number` of the longer file."""
  return DataError(
    f"{longer}:{number}",
    f"has no partner: {shorter} ends at line {number - 1}",
    "give parallel files",
  )
