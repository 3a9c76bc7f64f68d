"""`prepare`: from a source of text to a tokenizer, encoded pairs and batches; what `train` starts from.

Tokenizers and encoded text are kept in the cache, each under the hash of all it was made from, so a second run on the same
data begins at once, and changed text is never taken for the old.
"""

import contextlib
import dataclasses
import hashlib
import os

from transformer_jax.cache_folder import cache_folder
from transformer_jax.config import Config, refuse_unread, split_list
from transformer_jax.data.encoded import encode_pairs
from transformer_jax.data.pipeline import BatchStream, FittingPairs, ordered_batches
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  has_tokenizer,
  load_tokenizer,
  save_tokenizer,
  train_parsing_tokenizer,
  train_tokenizer,
)
from transformer_jax.errors import DataError, WorkdirError
from transformer_jax.runs.build import build_task

_TOKENIZER_FORMAT = "2"  # another where the same text and settings give another tokenizer
# What a learned tokenizer depends on, besides the text.
_TOKENIZER_SETTINGS = (
  "tokenizer",
  "vocab_size",
  "bpe_merges",
  "preprocessing",
  "preprocessed_splits",
  "source_language",
  "target_language",
  "task",
  "linearization",
)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """Data that is ready for training."""

  config: Config
  task: object
  source: object  # of texts, with `pairs(split)`
  encoded: dict  # "train" and "valid" -> EncodedPairs
  fingerprint: str  # SHA-256 of training text and tokenizer
  valid_fingerprint: str  # SHA-256 of the validation text

  @property
  def counts(self):
    """split -> Counts, of the pairs kept and dropped."""
    return {split: encoded.counts for split, encoded in self.encoded.items()}

  def stream_from(self, position=None):
    """Training batches from a checkpoint's data position on, or from the start."""
    data = self.config.data
    return BatchStream(
      self.encoded["train"], data.num_buckets, data.batch_tokens, self.config.train.seed, position
    )

  def tokens_per_update(self, stream):
    """Mean (source, target) tokens of an update, EOS included, padding not."""
    train, updates = (
      self.encoded["train"],
      stream.batches_in_epoch / self.config.data.accumulation_steps,
    )
    return train.source_lengths.sum() / updates, train.target_lengths.sum() / updates

  def valid_batches(self):
    """Batches that hold every validation pair once."""
    return ordered_batches(
      self.encoded["valid"], self.config.data.num_buckets, self.config.data.batch_tokens
    )

  def is_preprocessed(self, split):
    """Whether the text of a split comes as the preprocessing would leave it."""
    return split in split_list(self.config.data.preprocessed_splits)


def prepare(config, data_root, tokenizer_folder=None):
  """Reads the data, learns the tokenizer unless the cache or `tokenizer_folder` has it, encodes.

  Args:
    config: the Config.
    data_root: folder that relative data paths start from.
    tokenizer_folder: of a run that is resumed: its own tokenizer, which is then used whatever the settings say.

  Returns:
    Prepared.

  Raises:
    ConfigError: of a new run: a setting that nothing would read.
    DataError: text or tokenizer that cannot be used, or nothing to train or validate on.
  """
  if tokenizer_folder is None:
    refuse_unread(config)
  source = open_source(config.data, data_root)
  fingerprints = text_fingerprints(
    source, config.data
  )  # a missing file is told now, not after the training
  if tokenizer_folder is None:
    for split in fingerprints:
      _refuse_blank(config.data, source, split)
    tokenizer = _tokenizer(config.data, source, fingerprints["train"], data_root)
  else:
    tokenizer = load_tokenizer(tokenizer_folder)
  task = build_task(config.data, tokenizer)
  prepared = Prepared(
    config, task, source, {}, data_fingerprint(fingerprints, tokenizer), fingerprints["valid"]
  )
  train = _encode(prepared, "train", fingerprints["train"], config.data.max_length)
  # Perplexity is of all validation pairs, but for those that a learned table of positions has no room for.
  valid = _encode(prepared, "valid", fingerprints["valid"], None)
  if config.model.positions == "learned":
    valid = FittingPairs(valid, config.model.max_positions)
  prepared.encoded.update(train=train, valid=valid)
  for split, limit in dict(train="max_length", valid="max_positions").items():
    if not len(prepared.encoded[split]):
      raise _nothing_left(prepared, split, limit)
  return prepared


def _refuse_blank(data, source, split):
  """Refuses a split in which no pair has text on both sides, before anything is learned of it.

  Raises:
    DataError: it names the files, and how many pairs lack which side.
  """
  number, empty = 0, [0, 0]
  for number, pair in enumerate(source.pairs(split), 1):
    is_empty = [not text.strip() for text in pair]
    if not any(is_empty):
      return
    empty = [count + is_one for count, is_one in zip(empty, is_empty, strict=True)]
  problem = (
    (
      f"none of its {number:,} pairs has text on both sides: {empty[0]:,} have no source, "
      f"{empty[1]:,} no target"
    )
    if number
    else "holds nothing: not one pair"
  )
  is_all_training = data.data_source == "numbers" and data.numbers_all_below
  remedy = "lower --numbers_all_below" if is_all_training else "name files with text"
  raise DataError(_where(data, split), problem, remedy)


def _nothing_left(prepared, split, limit) -> DataError:
  """The error of a split whose pairs were all dropped: the files, the reasons, what would keep some."""
  dropped = prepared.counts[split].dropped
  reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))
  problem, remedy = f"no pairs are left: {reasons or 'there were none'}", "give other text"
  if lengths := _longer_sides(prepared, split):
    problem += f"; their longer sides have {min(lengths):,} to {max(lengths):,} tokens"
    remedy = f"raise --{limit} to at least {min(lengths)}, or give other text"
  return DataError(_where(prepared.config.data, split), problem, remedy)


def _longer_sides(prepared, split) -> list[int]:
  """Tokens of the longer side of each pair that has text on both."""
  task, is_preprocessed = prepared.task, prepared.is_preprocessed(split)
  pairs = [pair for pair in prepared.source.pairs(split) if all(text.strip() for text in pair)]
  return [
    max(
      len(task.encode_source(source, is_preprocessed)),
      len(task.encode_target(target, is_preprocessed)),
    )
    for source, target in pairs
  ]


def _where(data, split) -> str:
  """What names the text of a split: its settings, or the source that needs none."""
  names = [f"{split}_{part}" for part in ("source", "target", "sections", "trees")]
  has_files = data.data_source in ("text", "treebank")
  given = [f"--{name}={getattr(data, name)}" for name in names if has_files and getattr(data, name)]
  return f"{split} data ({', '.join(given) or f'--data_source={data.data_source}'})"


def text_fingerprints(source, data):
  """split -> fingerprint of the text that must be there to train, test's among them where it is named."""
  has_test = data.test_source or data.test_trees or data.test_sections
  return {
    split: source.fingerprint(split)
    for split in ("train", "valid", *(("test",) if has_test else ()))
  }


def data_fingerprint(fingerprints, tokenizer):
  """What a checkpoint knows its data by: SHA-256 of training text and tokenizer."""
  return _hash(fingerprints["train"], fingerprint(tokenizer))


def _tokenizer(data, source, text_fingerprint, data_root):
  """The learned tokenizer, from the cache if it is there. Files that a setting names may change under their name: not cached."""
  if data.bpe_codes or data.vocabulary_file:
    return make_tokenizer(data, source, data_root)
  settings = (f"{name}={getattr(data, name)}" for name in _TOKENIZER_SETTINGS)
  folder = cache_folder() / "tokenizers" / _hash(_TOKENIZER_FORMAT, text_fingerprint, *settings)
  if has_tokenizer(folder):
    with contextlib.suppress(DataError):  # a damaged one is made again: it is no run's own
      return load_tokenizer(folder)
  with _as_cache_error(folder):  # told before the learning
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
      raise PermissionError("it belongs to another user")
  tokenizer = make_tokenizer(data, source, data_root)
  with _as_cache_error(folder):
    save_tokenizer(tokenizer, folder)
  return tokenizer


@contextlib.contextmanager
def _as_cache_error(folder):
  """A context that turns a failed write inside it into a WorkdirError."""
  try:
    yield
  except OSError as error:
    raise WorkdirError(
      folder,
      f"cannot be written: {error.strerror or error}",
      "set TRANSFORMER_JAX_CACHE to a writable folder",
    ) from None


def make_tokenizer(data, source, data_root):
  """The tokenizer that a DataConfig asks for, learned or read anew."""
  if data.task == "parsing":
    return train_parsing_tokenizer(data, lambda: source.pairs("train"), data_root)
  return train_tokenizer(data, _training_texts(data, source), data_root)


def _training_texts(data, source):
  """Yields the sentences of both sides as the tokenizer meets them."""
  preprocessors = build_preprocessors(data)
  is_preprocessed = "train" in split_list(data.preprocessed_splits)
  for pair in source.pairs("train"):
    for preprocess, text in zip(preprocessors, pair, strict=True):
      yield text if is_preprocessed else preprocess(text)


def _encode(prepared, split, text_fingerprint, max_length):
  task, data, is_preprocessed = prepared.task, prepared.config.data, prepared.is_preprocessed(split)
  key = _hash(
    text_fingerprint,
    fingerprint(task.tokenizer),
    data.preprocessing,
    str(is_preprocessed),
    data.source_language,
    data.target_language,
    data.task,
    data.linearization,
  )
  return encode_pairs(
    lambda: prepared.source.pairs(split),
    lambda text: task.encode_source(text, is_preprocessed),
    lambda text: task.encode_target(text, is_preprocessed),
    cache_folder() / "encoded",
    key,
    max_length,
  )


def _hash(*parts):
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()
