"""Pairs of sentences from a dataset of the Hugging Face Hub by name, or from a local folder.

A folder of Parquet or JSON lines has the form of a repository of the Hub, so both go through the
library `datasets` (extra `datasets`). It unpacks a dataset once into its own cache, and from there
rows are read in their order, a block at a time, without holding the text in memory.
"""

import contextlib
import errno
import hashlib
import importlib
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from transformer_jax.config import DataConfig, split_list
from transformer_jax.data.fingerprints import remembered_of_files
from transformer_jax.data.network import why_no_hub
from transformer_jax.data.progress import Progress
from transformer_jax.data.sources.json_rows import first_row_without
from transformer_jax.errors import DataError, MissingDataError
from transformer_jax.files import StrPath, write_error

_PER_READ = 1000  # rows
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LONGEST_REASON = 300  # characters of a message; the library lists every file that it did not find
# The library joins the path of a folder with patterns, and cuts a path at "::".
_NOT_IN_PATHS = ("*", "?", "[", "::", "\n")
_TEXT = ("string", "large_string", "string_view")


class HuggingFaceSource:
  """A translation dataset such as wmt/wmt14, or a folder with one.

  Args:
    data: the DataConfig.
    data_root: folder that a relative --dataset starts from.

  Raises:
    DataError: the library is not installed, or the dataset is not there and cannot be fetched.
  """

  def __init__(self, data: DataConfig, data_root: StrPath) -> None:
    self._name = data.dataset
    source, target = _languages(data).items()
    self._wanted = dict(source=source, target=target)
    train, valid, test = split_list(data.dataset_splits)
    self._splits: dict[str, str] = dict(train=train, valid=valid, test=test)
    self._folder = pathlib.Path(data_root, data.dataset)
    self._builder = _builder(data, data_root)

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (source, target), in the dataset's order, each on one line; a missing text is ""."""
    for sources, targets in self._blocks(split):
      for source, target in zip(sources, targets, strict=True):
        yield _one_line(source), _one_line(target)

  def fingerprint(self, split: str, by_content: bool = False) -> str:
    """Returns the SHA-256 of the split's text, which is the same wherever the dataset lies."""
    paths = [file["filename"] for file in self._dataset(split).cache_files]
    name = f"text {self._splits[split]} {self._wanted}"
    return remembered_of_files(paths, name, lambda: self._facts(split), by_content)["sha256"]

  def count(self, split: str) -> int:
    """Returns the number of rows."""
    return len(self._dataset(split))

  def _facts(self, split: str) -> dict[str, str]:
    """Returns the SHA-256 of the split's text."""
    total = hashlib.sha256()
    with Progress(f"hashing {split}", self.count(split), "pairs") as progress:
      for block in self._blocks(split):
        for texts in block:
          total.update("\0".join(text or "" for text in texts).encode("utf-8", "surrogatepass"))
          total.update(b"\0\0")
        progress.add(len(block[0]))
    return dict(sha256=total.hexdigest())

  def _dataset(self, split: str) -> Any:
    """Returns a split as the library gives it, with the fields of structs as columns."""
    own_name = self._splits[split]
    try:
      return self._builder.as_dataset(split=own_name).flatten()
    except Exception as error:  # unknown splits and damaged files raise many classes
      raise DataError(
        f"--dataset_splits={own_name}",
        f"{self._name} cannot give it: {_reason(error)}",
        "name three of its own splits, or slices such as train[:99%]",
      ) from None

  def _blocks(self, split: str) -> Iterator[tuple[Sequence[str | None], Sequence[str | None]]]:
    """Yields blocks of rows: the texts of the source column, and those of the target column."""
    own_name = self._splits[split]
    dataset = self._dataset(split)
    columns = [self._column(dataset, side) for side in ("source", "target")]
    try:
      for block in dataset.select_columns(sorted(set(columns))).iter(batch_size=_PER_READ):
        yield block[columns[0]], block[columns[1]]
    except UnicodeDecodeError as error:
      raise DataError(
        f"--dataset={self._name}",
        f"{own_name} is not UTF-8: {_reason(error)}",
        "convert its files to UTF-8 (iconv)",
      ) from None
    except Exception as error:
      raise DataError(
        f"--dataset={self._name}", f"its cached copy cannot be read: {_reason(error)}"
      ) from None

  def _column(self, dataset: Any, side: str) -> str:
    """Returns the column of a side; the fields of a struct are columns "struct.field"."""
    wanted, flag = self._wanted[side]
    column = find_column(wanted, dataset.column_names)
    kinds = {name: _kind(feature) for name, feature in dataset.features.items()}
    if column is None:
      _raise_if_a_row_lacks(self._folder, dict(self._wanted.values()))
      there = ", ".join(_described(name, kind) for name, kind in kinds.items())
      remedy = f"name one of them by --{side}_column"
      raise DataError(f"--{flag}={wanted}", f"{self._name} has the columns {there}", remedy)
    if kinds[column] not in _TEXT:
      raise DataError(
        f"--{flag}={wanted}",
        f"{self._name} has {kinds[column]} there, not text",
        f"name a column of text by --{side}_column",
      )
    return column


def find_column(wanted: str, columns: Sequence[str]) -> str | None:
  """Returns the column of this name, or this field of the struct `translation`; None without both.

  Example:
    find_column("de", ["id", "translation.de", "translation.en"])  # "translation.de"
  """
  for name in (wanted, f"translation.{wanted}"):
    if name in columns:
      return name
  return None


def _kind(feature: Any) -> str:
  """Returns the type of a column, such as string, List, or Json where rows differ in form."""
  return getattr(feature, "dtype", None) or type(feature).__name__


def _described(name: str, kind: str) -> str:
  """Returns a column's name as a setting names it, with its type if that is not text."""
  return name.removeprefix("translation.") + ("" if kind in _TEXT else f" ({kind})")


def _languages(data: DataConfig) -> dict[str, str]:
  """Returns column -> the setting that names it, of the source and of the target."""
  source, target = data.source_language, data.target_language
  return {
    data.source_column or source: _flag(data, "source"),
    data.target_column or target: _flag(data, "target"),
  }


def _flag(data: DataConfig, side: str) -> str:
  """Returns the setting that names the column of a side."""
  is_column = bool(data.source_column if side == "source" else data.target_column)
  return f"{side}_column" if is_column else f"{side}_language"


def _one_line(text: str | None) -> str:
  return " ".join((text or "").splitlines())


def _builder(data: DataConfig, data_root: StrPath) -> Any:
  """Returns the dataset's builder, with its files unpacked in the library's cache."""
  folder = pathlib.Path(data_root, data.dataset)
  is_local = os.path.isdir(folder)  # also False for names that no folder can have
  if is_local:
    _check_path(os.path.realpath(folder))  # as the library follows links
  elif os.path.isfile(folder):
    raise DataError(f"--dataset={data.dataset}", "is a file", "name the folder that it is in")
  if not is_local and not _HUB_NAME.fullmatch(data.dataset):
    raise DataError(
      f"--dataset={data.dataset}",
      f"there is no folder {folder}, and it is not a name of the Hugging Face Hub",
      "relative paths start at --data_root (or $TRANSFORMER_JAX_DATA)",
    )
  library = _library()
  why_offline = None if is_local else _why_offline()
  name = os.path.abspath(folder) if is_local else data.dataset
  with _quiet(), _offline(why_offline is not None or is_local):
    try:
      builder = library.load_dataset_builder(name, data.dataset_config or None)
      builder.download_and_prepare()
      return builder
    except Exception as error:  # unknown names, no network and bad files have different classes
      _raise_if_of_cache(error)
      if is_local:
        _raise_if_a_row_lacks(folder, _languages(data))
      raise _not_there(data, folder, is_local, why_offline, error) from None


def _check_path(path: str) -> None:
  """Refuses a path that the library would read as a pattern: it may fit another folder."""
  for sign in _NOT_IN_PATHS:
    if sign in path:
      raise DataError(
        f"--dataset={path}",
        f"has {sign!r} in its path, which the library datasets does not take as it is",
        "rename it, or copy the folder elsewhere",
      )


def _raise_if_a_row_lacks(folder: pathlib.Path, languages: dict[str, str]) -> None:
  """Raises a DataError that names the first line of the folder's JSON lines without a language.

  The library takes columns and their types from all rows, and so reports something else.
  """
  row = first_row_without(folder, languages) if os.path.isdir(folder) else None
  if row:
    raise DataError(
      f"{row.path}:{row.line}",
      f"has no {row.language} (--{languages[row.language]})",
      f"give every row the languages {' and '.join(languages)}; null is a missing text",
    ) from None


def _raise_if_of_cache(error: Exception) -> None:
  """Raises a WorkdirError if the library could not write its cache."""
  cause = error.__cause__ or error
  if not isinstance(cause, OSError) or cause.errno is None:
    return
  cache = pathlib.Path(importlib.import_module("datasets.config").HF_DATASETS_CACHE).absolute()
  place = pathlib.Path(str(cause.filename)).absolute()
  is_there = place.is_relative_to(cache) or cache.is_relative_to(place)
  if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or is_there:
    remedy = "set HF_HOME to a writable folder with room for the dataset"
    raise write_error(cache, cause, remedy) from None


def _not_there(
  data: DataConfig, folder: pathlib.Path, is_local: bool, why_offline: str | None, error: Exception
) -> DataError:
  """Returns the error for a dataset that cannot be opened."""
  where = f"--dataset={data.dataset}"
  if data.dataset_config:
    where += f" --dataset_config={data.dataset_config}"
  if is_local:
    return DataError(
      where,
      f"{folder} cannot be read as a dataset: {_reason(error)}",
      "put files such as train.jsonl, validation.jsonl and test.jsonl there (or .parquet), with a "
      "column for each language and at least one row",
    )
  if why_offline is None:
    return MissingDataError(
      where,
      f"cannot be read or downloaded: {_reason(error)}",
      "check the name, or give the folder of a copy",
    )
  return MissingDataError(
    where,
    f"there is no folder {folder}, the cache of the library datasets does not hold it, and "
    f"the Hugging Face Hub cannot be reached ({why_offline})",
    f"where there is a network, run hf download {data.dataset} --repo-type=dataset "
    f"--local-dir=FOLDER; copy FOLDER here and give --dataset=FOLDER",
  )


def _library() -> Any:
  """Returns the library `datasets`."""
  try:
    return importlib.import_module("datasets")  # large, and only this source needs it
  except ImportError as error:
    raise DataError(
      "--data_source=huggingface",
      f"the library datasets is not installed ({error})",
      "pip install 'transformer_jax[datasets]'",
    ) from None


def _why_offline() -> str | None:
  """Returns why the Hub cannot be reached; None if it can."""
  if importlib.import_module("datasets.config").HF_HUB_OFFLINE:
    return "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set"
  return why_no_hub()


@contextlib.contextmanager
def _offline(is_offline: bool) -> Iterator[None]:
  """Keeps the libraries from asking the Hub; without a network they would try for half a minute."""
  modules: list[Any] = [
    importlib.import_module(name) for name in ("huggingface_hub.constants", "datasets.config")
  ]
  before = [module.HF_HUB_OFFLINE for module in modules]
  try:
    for module in modules:
      module.HF_HUB_OFFLINE = is_offline or module.HF_HUB_OFFLINE
    yield
  finally:
    for module, value in zip(modules, before, strict=True):
      module.HF_HUB_OFFLINE = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps the libraries from logging, and outside a terminal from drawing progress bars."""
  library = importlib.import_module("datasets")
  bars = importlib.import_module("datasets.utils")
  logs = [library.logging, importlib.import_module("huggingface_hub.utils.logging")]
  levels = [log.get_verbosity() for log in logs]
  had_bars = not bars.are_progress_bars_disabled()
  try:
    for log in logs:
      log.set_verbosity(log.CRITICAL)
    if sys.stderr is None or not sys.stderr.isatty():
      bars.disable_progress_bars()
    yield
  finally:
    for log, level in zip(logs, levels, strict=True):
      log.set_verbosity(level)
    if had_bars:
      bars.enable_progress_bars()


def _reason(error: BaseException) -> str:
  """Returns, on one line, the message of an exception or of the one that caused it."""
  text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
  return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."
