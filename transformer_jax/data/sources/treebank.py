"""Sentences and their trees from bracketed files: the Penn Treebank by sections, others by lists of files."""

import hashlib
import os
import pathlib
import re

from transformer_jax.config import parse_sections, split_list
from transformer_jax.data.text import expand_files, hash_file, read_lines
from transformer_jax.data.trees import TreeError, clean, read_trees
from transformer_jax.errors import DataError

_ENDINGS = (
  ".mrg",
  ".ptb",
  ".trees",
  ".tree",
  ".parse",
)  # of the files that are read of a folder, each also with .gz
_WSJ_NAME = re.compile(r"wsj_(\d\d)\d\d\.")


class Treebank:
  """The splits' files, read anew each time: the split's sections, then its other files."""

  def __init__(self, data, data_root):
    self._data, self._data_root = data, pathlib.Path(data_root)

  def pairs(self, split):
    """Yields (words between spaces, clean tree on one line); trees of no words are left out."""
    for path in self._files(split):
      for tree in read_tree_file(path):
        if (tree := clean(tree)) is not None:
          yield " ".join(tree.words), str(tree)

  def fingerprint(self, split):
    """SHA-256 over the bytes of the split's files."""
    total = hashlib.sha256()
    for path in self._files(split):
      total.update(hash_file(path))
    return total.hexdigest()

  def _files(self, split):
    sections, names = (
      getattr(self._data, f"{split}_sections"),
      getattr(self._data, f"{split}_trees"),
    )
    return [
      *self._section_files(split, sections),
      *(file for name in split_list(names) for file in self._named(name, f"{split}_trees")),
    ]

  def _section_files(self, split, sections):
    """The files of some sections, in the order of their names; each section must have one."""
    if not sections:
      return []
    wanted = set(parse_sections(sections, f"--{split}_sections"))
    root = self._data_root / self._data.treebank
    found = {}
    for path in _tree_files(root):
      match = _WSJ_NAME.match(path.name)
      if match and int(match[1]) in wanted:
        found.setdefault(
          match[0], path
        )  # some editions hold a file twice: in two folders, or zipped too
    missing = wanted - {int(_WSJ_NAME.match(name)[1]) for name in found}
    if missing:
      raise DataError(
        f"--{split}_sections={sections}",
        f"{root} has no wsj_{min(missing):02d}NN.mrg",
        "check --treebank (relative to --data_root)",
      )
    return [found[name] for name in sorted(found)]

  def _named(self, name, flag):
    files = []
    folder = self._data_root / name
    escaped = name.replace(",", "\\,")
    for path in [folder] if os.path.isdir(folder) else expand_files(escaped, self._data_root, flag):
      found = _tree_files(path) if path.is_dir() else [path]
      if not found:
        raise DataError(
          f"--{flag}", f"{path} holds no file that ends in {', '.join(_ENDINGS)}", "name files"
        )
      files += found
    return files


def read_tree_file(path):
  """Yields the trees of a file.

  Raises:
    DataError: it cannot be read, or is no sequence of trees; names file and line.
  """
  try:
    for _, tree in read_trees(read_lines(path, lines_matter=False)):
      yield tree
  except TreeError as error:
    raise DataError(f"{path}:{error.line}", str(error), "repair or remove the tree") from None


def _tree_files(folder):
  return sorted(
    path
    for path in folder.rglob("*")
    if path.name.removesuffix(".gz").endswith(_ENDINGS) and path.is_file()
  )
