"""The protocol of a text source: the methods that every source has."""

from collections.abc import Iterator
from typing import Protocol


class TextSource(Protocol):
  """Pairs of texts in three splits: "train", "valid" and "test"."""

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (source, target) texts; of a treebank, (space-separated words, tree on one line)."""
    ...

  def fingerprint(self, split: str, by_content: bool = False) -> str:
    """Returns a hex SHA-256 that changes with the text of the split.

    With `by_content` the text is read, even if it has not changed since the last time.
    """
    ...

  def count(self, split: str) -> int | None:
    """Returns the number of pairs, to show progress; None if most of the text had to be read."""
    ...
