"""Test sets by name: those of sacreBLEU, from its own download and cache.

The cache is `$SACREBLEU`, by default `~/.sacrebleu`.
"""

import contextlib
import difflib
import importlib
import logging
import os
import pathlib
import socket
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from transformer_jax.data.network import why_unreachable
from transformer_jax.data.text import read_parallel
from transformer_jax.errors import ConfigError, DataError

# Flags that contradict --test_set, since they name or describe other text.
EXCLUDED = ("split", "source", "reference", "tokenized_input")

_SECONDS = 10.0  # for each answer of a server


class NamedSet(NamedTuple):
  """A test set of sacreBLEU, such as ("wmt14/full", "en-de"); "" stands for the run's languages."""

  name: str
  pair: str = ""


def refuse_contradictions(test_set: str, pair: str, given: Collection[str]) -> None:
  """Refuses flags that contradict --test_set.

  Args:
    test_set: its value, or "".
    pair: the value of --pair, or "".
    given: those of `EXCLUDED` that are given.

  Raises:
    ConfigError: names the first one.
  """
  if not test_set:
    if pair:
      raise ConfigError(f"--pair={pair}", "is read only with --test_set", "give both, or neither")
    return
  for name in EXCLUDED:
    if name in given:
      raise ConfigError(
        f"--{name}", f"contradicts --test_set={test_set}, which is raw text", "leave one out"
      )


def read_test_set(name: str, pair: str) -> tuple[list[str], list[str]]:
  """Returns the sources and the references of a test set of sacreBLEU, two lists of equal length.

  A set that is not in sacreBLEU's cache is downloaded.

  Raises:
    ConfigError: sacreBLEU has no such set or pair, or the set has several references.
    DataError: it cannot be downloaded or read.

  Example:
    sources, references = read_test_set("wmt14/full", "en-de")
    len(sources)  # 3003
  """
  dataset = _dataset(name, pair)
  stem = _folder(name) / f"{name.replace('/', '_')}.{pair}"
  source, reference = f"{stem}.src", f"{stem}.ref"
  if not (os.path.exists(source) and os.path.exists(reference)):
    source, reference = _fetch(dataset, name, pair)
  sources, references = read_parallel(source, reference)
  if not sources:
    raise DataError(source, "has no lines", f"delete {_folder(name)} and try again")
  return sources, references


def _fetch(dataset: Any, name: str, pair: str) -> tuple[str, str]:
  """Downloads a set, if sacreBLEU has not; returns the paths of its sources and references."""
  where = f"--test_set={name}"
  if problem := _why_no_download(dataset, name):
    raise _not_there(name, pair, problem)
  try:
    with _bounded():
      source = dataset.get_source_file(pair)
      references = dataset.get_reference_files(pair)
  except SystemExit:  # sacreBLEU ends so if a download has another checksum
    raise DataError(
      where,
      "the download is not the published file",
      f"delete {_folder(name)} and try again",
    ) from None
  except Exception as error:  # errors of the network, of archives and of XML have different classes
    raise _not_there(name, pair, " ".join(str(error).split()) or type(error).__name__) from None
  if len(references) != 1:
    raise ConfigError(
      where,
      f"has {len(references)} references for each sentence, but scores here take one",
      "choose a set with one reference",
    )
  return source, references[0]


def _dataset(name: str, pair: str) -> Any:
  """Returns sacreBLEU's description of a set, which has this pair."""
  sets = importlib.import_module("sacrebleu.dataset").DATASETS
  if name not in sets:
    near = difflib.get_close_matches(name, sets, 3)
    remedy = f"did you mean {' or '.join(near)}?" if near else "sacrebleu --list shows all"
    raise ConfigError(f"--test_set={name}", "is not a test set of sacreBLEU", remedy)
  if pair not in sets[name].langpairs:
    pairs = ", ".join(sorted(sets[name].langpairs))
    raise ConfigError(f"--pair={pair}", f"is not a pair of {name}", f"choose one of {pairs}")
  return sets[name]


def _folder(name: str) -> pathlib.Path:
  """Returns the folder of a set in sacreBLEU's cache."""
  return pathlib.Path(importlib.import_module("sacrebleu.utils").SACREBLEU_DIR, name)


def _why_no_download(dataset: Any, name: str) -> str | None:
  """Returns why a set cannot be downloaded; None if it can, or if its archive is there already."""
  raw = _folder(name) / "raw"
  if raw.is_dir() and any(path.suffix != ".lock" for path in raw.iterdir()):
    return None
  why = why_unreachable(dataset.data[0])
  return f"{dataset.data[0]} cannot be reached ({why})" if why else None


def _not_there(name: str, pair: str, problem: str) -> DataError:
  """Returns the error for a set that is not in the cache and cannot be downloaded."""
  folder = _folder(name)
  return DataError(
    f"--test_set={name}",
    f"is not in {folder}, and its download failed: {problem}",
    f"where there is a network, run sacrebleu --test-set={name} --language-pair={pair} --echo=src "
    f"> /dev/null, and copy its ~/.sacrebleu/{name} to {folder} (another place: $SACREBLEU)",
  )


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
  """Limits the time that sacreBLEU waits for a server, and silences its log."""
  log = logging.getLogger("sacrebleu")
  level, seconds = log.level, socket.getdefaulttimeout()
  try:
    log.setLevel(logging.CRITICAL + 1)
    socket.setdefaulttimeout(_SECONDS)
    yield
  finally:
    log.setLevel(level)
    socket.setdefaulttimeout(seconds)
