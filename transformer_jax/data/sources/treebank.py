"""Sentences and trees from bracketed files: the Penn Treebank by sections, others by file names."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

from transformer_jax.config import DataConfig, parse_sections, split_list
from transformer_jax.data.text import expand_files, hash_file, read_lines
from transformer_jax.data.trees import Tree, TreeError, clean, read_trees
from transformer_jax.errors import DataError, MissingDataError
from transformer_jax.files import StrPath

# Endings of the files that are read from a folder; each may be followed by .gz.
_ENDINGS = (".mrg", ".ptb", ".trees", ".tree", ".parse")
_WSJ_NAME = re.compile(r"wsj_(?P<section>\d\d)\d\d\.")


class Treebank:
  """Trees from files: of each split its sections of the Penn Treebank, then its other files."""

  def __init__(self, data: DataConfig, data_root: StrPath) -> None:
    self._data = data
    self._data_root = pathlib.Path(data_root)

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (space-separated words, clean tree on one line); skips trees without words."""
    for path in self._files(split):
      for tree in read_tree_file(path):
        cleaned = clean(tree)
        if cleaned is not None:
          yield " ".join(cleaned.words), str(cleaned)

  def fingerprint(self, split: str, by_content: bool = False) -> str:
    """Returns the SHA-256 of the bytes of the split's files."""
    total = hashlib.sha256()
    for path in self._files(split):
      total.update(hash_file(path, by_content))
    return total.hexdigest()

  def count(self, split: str) -> None:
    """Returns None: a tree may have many lines."""

  def _files(self, split):
    files = self._section_files(split)
    for name in split_list(self._data.files(split, "trees")):
      files += self._named_files(name, f"{split}_trees")
    return files

  def _section_files(self, split):
    """Returns the files of the split's sections, in the order of their names.

    Raises:
      MissingDataError: a section has no file.
    """
    sections = self._data.files(split, "sections")
    if not sections:
      return []
    flag = f"--{split}_sections"
    numbers = set(parse_sections(sections, flag))
    root = self._data_root / self._data.treebank
    found = {}  # the beginning of a name, such as "wsj_0201." -> its first file
    missing = set(numbers)
    for path in _tree_files(root):
      match = _WSJ_NAME.match(path.name)
      if match and int(match["section"]) in numbers:
        # Some editions have a file twice: in two folders, or compressed too.
        found.setdefault(match[0], path)
        missing.discard(int(match["section"]))
    if missing:
      raise MissingDataError(
        f"{flag}={sections}",
        f"{root} has no wsj_{min(missing):02d}NN.mrg",
        "check --treebank (relative to --data_root)",
      )
    return [found[name] for name in sorted(found)]

  def _named_files(self, name, flag):
    """Returns the files that a name stands for: a file, a folder, or a wildcard for both."""
    path = self._data_root / name
    if os.path.isdir(path):  # also False for names that no file can have; pathlib would raise
      matches = [path]
    else:
      matches = expand_files(name.replace(",", "\\,"), self._data_root, flag)
    files = []
    for match in matches:
      found = _tree_files(match) if match.is_dir() else [match]
      if not found:
        problem = f"{match} holds no file that ends in {', '.join(_ENDINGS)}"
        raise DataError(f"--{flag}", problem, "name files")
      files += found
    return files


def read_tree_file(path: StrPath) -> Iterator[Tree]:
  """Yields the trees of a file.

  Raises:
    DataError: the file cannot be read, or is not a sequence of trees; names file and line.
  """
  try:
    for _, tree in read_trees(read_lines(path, lines_matter=False)):
      yield tree
  except TreeError as error:
    raise DataError(f"{path}:{error.line}", str(error), "repair or remove the tree") from None


def _tree_files(folder):
  """Returns the tree files anywhere in a folder, sorted; of a file and its .gz only the file."""
  files = set()
  for path in folder.rglob("*"):
    if path.name.removesuffix(".gz").endswith(_ENDINGS) and path.is_file():
      files.add(path)
  is_double = lambda path: path.suffix == ".gz" and path.with_suffix("") in files
  return sorted(path for path in files if not is_double(path))
