"""`prepare`: makes the tokenizer, encoded pairs and batches for `train` from a source of text.

Tokenizers and encoded text are kept in the cache, each under the hash of everything it was made
from. So a second run on the same data begins at once, and changed text is always encoded again.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from transformer_jax.cache_folder import cache_folder
from transformer_jax.config import Config, DataConfig, check_kept, refuse_unread, split_list
from transformer_jax.data.encoded import Counts, EncodedPairs
from transformer_jax.data.encoding import PairEncoder, encode_pairs
from transformer_jax.data.filters import OFF, PairFilters
from transformer_jax.data.pipeline import (
  Batch,
  BatchStream,
  FittingPairs,
  OwnRows,
  Pairs,
  ordered_batches,
)
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.data.progress import timed, with_progress
from transformer_jax.data.recut import Recutter
from transformer_jax.data.recut_ahead import EpochCuts
from transformer_jax.data.sampling import sample
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.sources.source import TextSource
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  has_tokenizer,
  load_tokenizer,
  save_tokenizer,
  train_parsing_tokenizer,
  train_tokenizer,
)
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath, as_workdir_error
from transformer_jax.machine import return_freed_memory, usable_cores
from transformer_jax.runs.build import build_task
from transformer_jax.runs.empty_splits import nothing_left, refuse_blank
from transformer_jax.tasks.task import Task
from transformer_jax.workdir.folder import Workdir, source_settings

# To be changed whenever the same text and settings give another tokenizer.
_TOKENIZER_FORMAT = "2"
# What a learned tokenizer depends on, besides the text.
_TOKENIZER_SETTINGS = (
  "tokenizer",
  "vocab_size",
  "tokenizer_sentences",
  "bpe_merges",
  "preprocessing",
  "preprocessed_splits",
  "source_language",
  "target_language",
  "task",
  "linearization",
)
# Preprocessing or tokenizer -> the package that does it; another version may do it otherwise.
_PACKAGES = dict(
  moses="sacremoses",
  moses_lowercase="sacremoses",
  sentencepiece="sentencepiece",
  marian="sentencepiece",
  subword_nmt="subword-nmt",
)
# Task -> a word that changes when its pairs are encoded otherwise than before.
_WAYS_OF_ENCODING = dict(parsing="one sub-word shows a word")
_MAX_CUTTERS = 8  # processes that cut words anew (BPE-dropout)
_OTHER_CACHE = "set TRANSFORMER_JAX_CACHE to a writable folder"


@dataclasses.dataclass(frozen=True)
class Prepared:
  """Data that is ready for training."""

  config: Config
  task: Task
  source: TextSource
  encoded: dict[str, Pairs]  # of "train" and "valid"
  fingerprint: str  # SHA-256 of training text and tokenizer
  valid_fingerprint: str  # SHA-256 of the validation text

  @property
  def counts(self) -> dict[str, Counts]:
    """split -> Counts of the pairs kept and dropped."""
    return {split: encoded.counts for split, encoded in self.encoded.items()}

  def stream_from(
    self, position: dict[str, int] | None = None, own_rows: OwnRows = range
  ) -> BatchStream:
    """Returns the training batches from a checkpoint's data position on, or from the start."""
    data, train = self.config.data, self.config.train
    return BatchStream(
      self.encoded["train"],
      data.num_buckets,
      data.batch_tokens,
      train.seed,
      position,
      train.word_dropout_rate,
      self._cuts(),
      own_rows,
    )

  def _cuts(self) -> EpochCuts | None:
    """Returns the training pairs as they are cut in each epoch; None without BPE-dropout."""
    data, plain = self.config.data, self.encoded["train"]
    if not data.bpe_dropout:
      return None
    assert isinstance(plain, EncodedPairs)
    seed = self.config.train.seed
    recutter = Recutter(plain, self.task.tokenizer, data.bpe_dropout, seed)
    num_processes = min(max(1, (usable_cores() or 1) // 2), _MAX_CUTTERS)
    return EpochCuts(recutter, data.max_length, num_processes)

  def tokens_per_update(self, stream: BatchStream) -> tuple[float, float]:
    """Returns the mean (source, target) tokens of an update, with EOS and without padding."""
    updates = stream.batches_in_epoch / self.config.data.accumulation_steps
    source, target = stream.tokens_in_epoch
    return source / updates, target / updates

  def valid_batches(self, own_rows: OwnRows = range) -> Iterator[Batch]:
    """Yields batches that hold every validation pair once."""
    data = self.config.data
    return ordered_batches(self.encoded["valid"], data.num_buckets, data.batch_tokens, own_rows)

  def is_preprocessed(self, split: str) -> bool:
    """Returns whether the text of a split has been through the preprocessing already."""
    return split in split_list(self.config.data.preprocessed_splits)


def prepare(
  config: Config,
  data_root: StrPath,
  tokenizer_folder: pathlib.Path | None = None,
  *,
  by_content: bool = False,
) -> Prepared:
  """Reads the data, learns the tokenizer unless it exists already, and encodes the pairs.

  Args:
    config: the Config.
    data_root: folder that relative data paths start from.
    tokenizer_folder: the tokenizer of a run that is resumed, which is used in any case.
    by_content: read text and encoded pairs and compare them with what is known of them, even if
      their files have the size and the time of change of the last time.

  Raises:
    ConfigError: a new run has a setting that nothing would read.
    DataError: text or tokenizer cannot be used, or there is nothing to train or validate on.
  """
  if tokenizer_folder is None:
    refuse_unread(config)
  source = open_source(config.data, data_root)
  # This comes before the tokenizer is learned, so that a missing file is reported at once.
  fingerprints = text_fingerprints(source, config.data, by_content)
  if tokenizer_folder is None:
    for split in fingerprints:
      refuse_blank(config.data, source, split)
    tokenizer = _new_tokenizer(config, source, fingerprints["train"], data_root)
  else:
    tokenizer = load_tokenizer(tokenizer_folder)
  prepared = Prepared(
    config,
    build_task(config.data, tokenizer),
    source,
    encoded={},
    fingerprint=data_fingerprint(fingerprints, tokenizer),
    valid_fingerprint=fingerprints["valid"],
  )
  _encode_splits(prepared, fingerprints, by_content)
  return prepared


def _encode_splits(prepared: Prepared, fingerprints: dict[str, str], by_content: bool) -> None:
  """Fills `prepared.encoded`.

  Raises:
    DataError: no pairs of a split are left.
  """
  config = prepared.config
  encode = functools.partial(_encode, prepared, fingerprints, by_content)
  train = encode("train", config.data.max_length, PairFilters.of(config.data))
  # Perplexity is that of all validation pairs, or of those that fit a learned table of positions.
  valid = encode("valid", None, OFF)
  has_table = config.model.positions == "learned"
  fitting = FittingPairs(valid, config.model.max_positions) if has_table else valid
  prepared.encoded.update(train=train, valid=fitting)
  if config.model.positions == "words":
    _check_words_counted(prepared)
  for split, limit in (("train", "max_length"), ("valid", "max_positions")):
    if not len(prepared.encoded[split]):
      counts = prepared.counts[split]
      lengths = lambda split=split: _longer_sides(prepared, split)
      raise nothing_left(config.data, split, counts, limit, lengths)


def _encode(
  prepared: Prepared,
  fingerprints: dict[str, str],
  by_content: bool,
  split: str,
  max_length: int | None,
  filters: PairFilters,
) -> EncodedPairs:
  """Returns the encoded pairs of a split, from the cache if it has them."""
  task, data = prepared.task, prepared.config.data
  is_preprocessed = prepared.is_preprocessed(split)
  key = _hash(
    fingerprints[split],
    fingerprint(task.tokenizer),
    data.preprocessing,
    str(is_preprocessed),
    data.source_language,
    data.target_language,
    data.task,
    data.linearization,
    *filter(None, [_WAYS_OF_ENCODING.get(data.task)]),
    *_versions_of_packages(data),
  )
  encoder = PairEncoder(
    functools.partial(task.encode_source, is_preprocessed=is_preprocessed),
    functools.partial(task.encode_target, is_preprocessed=is_preprocessed),
    max_length,
    filters,
  )
  return encode_pairs(
    lambda: prepared.source.pairs(split),
    encoder,
    cache_folder() / "encoded",
    key,
    what=f"encoding {split}",
    count=lambda: prepared.source.count(split),
    by_content=by_content,
  )


def _check_words_counted(prepared: Prepared) -> None:
  """Refuses trees in which `Positions` would count other words than their sentences have.

  Their tags are labels, too: by itself such a symbol may be either, and counts as a bracket.
  """
  train = prepared.encoded["train"]
  source_C, target_C = (np.frombuffer(marks, np.uint8) for marks in prepared.task.word_marks())
  wrong = sum(
    source_C[train.source(pair)].sum() != target_C[train.target(pair)].sum()
    for pair in range(len(train))
  )
  if wrong:
    raise DataError(
      f"{wrong:,} of {len(train):,} training trees",
      "have a tag that is also a label, which --positions=words does not count",
      "use --linearization=vinyals, or other positions",
    )


def _versions_of_packages(data: DataConfig) -> list[str]:
  """Returns the versions of the packages that make tokens of text with these settings."""
  packages = [_PACKAGES[name] for name in (data.preprocessing, data.tokenizer) if name in _PACKAGES]
  return [f"{package} {importlib.metadata.version(package)}" for package in packages]


def _longer_sides(prepared: Prepared, split: str) -> list[int]:
  """Returns the tokens of the longer side of each pair that has text on both."""
  task, is_preprocessed = prepared.task, prepared.is_preprocessed(split)
  lengths = []
  for source, target in prepared.source.pairs(split):
    if source.strip() and target.strip():
      source_tokens = task.encode_source(source, is_preprocessed)
      target_tokens = task.encode_target(target, is_preprocessed)
      lengths.append(max(len(source_tokens), len(target_tokens)))
  return lengths


def text_fingerprints(
  source: TextSource, data: DataConfig, by_content: bool = False
) -> dict[str, str]:
  """Returns split -> fingerprint of the text that must exist for training.

  The test split is included if the settings name it. `by_content` is as in `prepare`.
  """
  splits = ["train", "valid"]
  if data.test_source or data.test_trees or data.test_sections:
    splits.append("test")
  return {split: source.fingerprint(split, by_content) for split in splits}


def data_fingerprint(fingerprints: dict[str, str], tokenizer: Any) -> str:
  """Returns the SHA-256 of training text and tokenizer; a checkpoint identifies its data by it."""
  return _hash(fingerprints["train"], fingerprint(tokenizer))


def _new_tokenizer(
  config: Config, source: TextSource, text_fingerprint: str, data_root: StrPath
) -> Any:
  """Returns the tokenizer of a new run: a learned one, or that of the run that it begins with.

  Raises:
    ConfigError: the settings contradict those of that run.
  """
  init_from = config.train.init_from
  if not init_from:
    return _tokenizer(config.data, source, text_fingerprint, data_root)
  check_kept(config, source_settings(init_from), init_from)
  return load_tokenizer(Workdir(init_from, primary=False).tokenizer)


def _tokenizer(
  data: DataConfig, source: TextSource, text_fingerprint: str, data_root: StrPath
) -> Any:
  """Returns the learned tokenizer, from the cache if it has it.

  A tokenizer from files that a setting names is not cached: their content may change.
  """
  if data.bpe_codes or data.vocabulary_file:
    return make_tokenizer(data, source, data_root)
  settings = [f"{name}={getattr(data, name)}" for name in _TOKENIZER_SETTINGS]
  if data.bpe_dropout and data.tokenizer == "subword_nmt":
    settings.append("pieces of any cut")
  folder = cache_folder() / "tokenizers" / _hash(_TOKENIZER_FORMAT, text_fingerprint, *settings)
  if has_tokenizer(folder):
    with contextlib.suppress(DataError):  # a damaged one is made again
      return load_tokenizer(folder)
  with as_workdir_error(folder, _OTHER_CACHE):  # refused before the learning, which may take long
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
      raise PermissionError("it belongs to another user")
  with timed("learning the tokenizer, with reading"):
    tokenizer = make_tokenizer(data, source, data_root)
  return_freed_memory()  # hundreds of megabytes, which other processes that encode may need
  with as_workdir_error(folder, _OTHER_CACHE):
    save_tokenizer(tokenizer, folder)
  return tokenizer


def make_tokenizer(data: DataConfig, source: TextSource, data_root: StrPath) -> Any:
  """Learns or reads the tokenizer that the settings describe, without the cache."""
  pairs = _sampled_pairs(data, source)
  if data.task == "parsing":
    trees = (tree for _, tree in source.pairs("train"))
    return train_parsing_tokenizer(data, (sentence for sentence, _ in pairs), trees, data_root)
  return train_tokenizer(data, _both_sides(data, pairs), data_root)


def _sampled_pairs(data: DataConfig, source: TextSource) -> Iterator[tuple[str, str]]:
  """Yields the training pairs to learn the tokenizer from: a sample, if there are many."""
  pairs = with_progress(source.pairs("train"), "reading train", source.count("train"), "pairs")
  if data.tokenizer == "segmented" or not data.tokenizer_sentences:  # a list of all words, or all
    return pairs
  sides = 1 if data.task == "parsing" else 2
  return sample(pairs, max(1, data.tokenizer_sentences // sides))


def _both_sides(data: DataConfig, pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
  """Yields the sentences of both sides as the tokenizer encodes them."""
  preprocessors = build_preprocessors(data)
  is_preprocessed = "train" in split_list(data.preprocessed_splits)
  for pair in pairs:
    for preprocess, text in zip(preprocessors, pair, strict=True):
      yield text if is_preprocessed else preprocess(text)


def _hash(*parts: str) -> str:
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()
