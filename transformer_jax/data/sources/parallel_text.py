"""Pairs of sentences from text files that are parallel line by line."""

import hashlib
import itertools

from transformer_jax.data.text import expand_files, hash_file, read_lines
from transformer_jax.errors import DataError

_END = object()


class ParallelText:
  """The splits' files, read anew each time; several files of a side follow each other."""

  def __init__(self, data, data_root):
    self._data, self._data_root = data, data_root

  def pairs(self, split):
    """Yields (source, target).

    Raises:
      DataError: the files of a pair have different numbers of lines.
    """
    for source_file, target_file in zip(*self._files(split), strict=True):
      lines = itertools.zip_longest(
        read_lines(source_file), read_lines(target_file), fillvalue=_END
      )
      for number, (source, target) in enumerate(lines, 1):
        if source is _END or target is _END:
          longer, shorter = (
            (target_file, source_file) if source is _END else (source_file, target_file)
          )
          raise DataError(
            f"{longer}:{number}",
            f"has no partner: {shorter} ends at line {number - 1}",
            "give parallel files",
          )
        yield source, target

  def fingerprint(self, split):
    """SHA-256 over the bytes of the split's files."""
    total = hashlib.sha256()
    for side in self._files(split):
      for path in side:
        total.update(hash_file(path))
      total.update(b"|")
    return total.hexdigest()

  def _files(self, split):
    """(source files, target files) of a split; the other splits' files need not be there."""
    sources, targets = (
      expand_files(getattr(self._data, f"{split}_{side}"), self._data_root, f"{split}_{side}")
      for side in ("source", "target")
    )
    if len(sources) != len(targets):
      raise DataError(
        f"--{split}_target",
        f"matches {len(targets)} files beside {len(sources)} of --{split}_source",
        "name as many",
      )
    return sources, targets
