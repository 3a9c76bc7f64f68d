"""The report of a run before it starts: data, batches, differences from the paper, parameters."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from transformer_jax.config import PAPER_TOKENS_PER_UPDATE, Config, TrainConfig, unread_warnings
from transformer_jax.data.encoded import Counts
from transformer_jax.data.pipeline import BatchStream, Pairs
from transformer_jax.runs.prepare import Prepared

# Settings that decide how a run is carried out, and not what is learned.
_NOT_OF_THE_PAPER = {
  "data_source",
  "tfds_data_dir",
  "tfds_splits",
  "dataset",
  "dataset_config",
  "dataset_splits",
  "source_column",
  "target_column",
  "attention_kernel",
  "log_every",
  "evaluate_every",
  "bleu_sentences",
  "evaluation_beam_size",
  "seed",
  "keep_checkpoints",
  "keep_best",
  "max_nonfinite_updates",
  "deterministic",
  "decode_batch_tokens",
  "num_buckets",
  "numbers_limit",
  "numbers_train_size",
  "grammar_train_size",
  "checkpoint_every",
  "treebank",
  "numbers_all_below",
  "preprocessed_splits",
  *(
    f"{split}_{side}"
    for split in ("train", "valid", "test")
    for side in ("source", "target", "trees", "sections")
  ),
}

_MUCH_UNKNOWN = 0.01  # of a side's tokens
_LONGEST_VALUE = 60  # characters of a setting that are shown


def overview(config: Config, prepared: Prepared, stream: BatchStream, params: Any) -> list[str]:
  """Returns the lines to log before training."""
  return [
    *data_lines(config, prepared, stream),
    *difference_lines(config),
    *parameter_lines(params),
    *average_lines(config.train, params),
    *unscored_lines(config.train),
  ]


def data_lines(config: Config, prepared: Prepared, stream: BatchStream) -> list[str]:
  """Returns lines about the data and the batches.

  They give the languages, the pairs kept and dropped, unknown tokens, the tokens per update beside
  the paper's, and settings that nothing reads.
  """
  return [
    _data_line(config, prepared),
    *_unknown_lines(prepared.encoded),
    *_batch_lines(config, prepared, stream),
    *unread_warnings(config),
  ]


def _data_line(config: Config, prepared: Prepared) -> str:
  data, task = config.data, prepared.task
  splits = prepared.counts.items()
  pairs = ", ".join(f"{split} {counts.kept:,} pairs{_dropped(counts)}" for split, counts in splits)
  if data.task == "parsing":
    return (
      f"data: sentences -> trees, {pairs}; vocabularies of {task.source_vocab_size:,} sub-words "
      f"and {task.target_vocab_size:,} symbols"
    )
  return (
    f"data: {data.source_language} -> {data.target_language}, {pairs}; "
    f"vocabulary {task.source_vocab_size:,}"
  )


def _dropped(counts: Counts) -> str:
  dropped = sorted(counts.dropped.items())
  reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped if count)
  return f" (dropped: {reasons})" if reasons else ""


def _unknown_lines(encoded: dict[str, Pairs]) -> Iterator[str]:
  """Yields the share of UNK in each side of a split that has any, and a warning if it is high."""
  shares = {split: pairs.unknown_shares() for split, pairs in encoded.items()}
  parts = [
    f"{split} {share:.2%} of {side} tokens"
    for split, sides in shares.items()
    for side, share in sides.items()
    if share
  ]
  if parts:
    yield f"unknown to the vocabulary (<unk>): {', '.join(parts)}"
  if max(shares["train"].values()) > _MUCH_UNKNOWN:
    yield (
      "warning: much of the training text is <unk>; raise --vocab_size, or give a vocabulary "
      "of this text"
    )


def _batch_lines(config: Config, prepared: Prepared, stream: BatchStream) -> Iterator[str]:
  """Yields the real tokens per update, and a warning if they are far from the paper's number."""
  source, target = prepared.tokens_per_update(stream)
  shapes = ", ".join(
    f"{rows}x({source_width}+{target_width})"
    for rows, source_width, target_width in stream.shapes()
  )
  steps = config.data.accumulation_steps
  yield (
    f"batch: {source:,.0f} source + {target:,.0f} target tokens per update "
    f"({config.data.batch_tokens:,} padded positions a side, times {steps}); "
    f"the paper's: 25,000 + 25,000; shapes {shapes}"
  )
  matching_steps = round(PAPER_TOKENS_PER_UPDATE / target * steps)
  if target < 0.75 * PAPER_TOKENS_PER_UPDATE:
    yield (
      "warning: updates are smaller than the paper's; "
      f"--accumulation_steps={matching_steps} would match"
    )
  elif target > 1.5 * PAPER_TOKENS_PER_UPDATE:
    yield (
      "warning: updates are larger than the paper's; lower --batch_tokens or "
      "--accumulation_steps to match"
    )


def difference_lines(config: Config) -> list[str]:
  """Returns a line for each setting that differs from the paper's base model."""
  paper, ours = Config().to_flat(), config.to_flat()
  different = [name for name in ours if ours[name] != paper[name] and name not in _NOT_OF_THE_PAPER]
  if not different:
    return ["settings: all are those of the paper's base model"]
  return [
    "settings that differ from the paper's base model:",
    *(f"  {name:24} {_show(ours[name]):>24}   paper: {_show(paper[name])}" for name in different),
  ]


def _show(value: Any) -> str:
  text = str(value)
  if text == "":
    return "-"
  if len(text) > _LONGEST_VALUE:
    return text[: _LONGEST_VALUE - 3] + "..."
  return text


def parameter_lines(params: Any) -> list[str]:
  """Returns a table of parameter counts: one row for each part and layer, and the total."""
  rows = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    names = [key.key for key in path]
    has_layers = names[0] in ("encoder", "decoder")
    part = ".".join(names[: 2 if has_layers else 1])
    rows[part] = rows.get(part, 0) + int(np.prod(leaf.shape))
  total = sum(rows.values())
  return [
    "parameters:",
    *(f"  {part:24} {count:>14,}" for part, count in rows.items()),
    f"  {'total':24} {total:>14,}",
  ]


def average_lines(train: TrainConfig, params: Any) -> list[str]:
  """Returns a line about the memory of a moving average of the parameters, if there is one."""
  if not train.ema_decay:
    return []
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  return [
    f"moving average of the parameters: {size / 1e6:,.1f} MB more on each device and in each "
    "checkpoint; evaluations and all answers are its"
  ]


def origin_lines(record: Mapping[str, Any] | None) -> list[str]:
  """Returns a line that names the run whose parameters this one began with, if any."""
  if not record:
    return []
  return [
    f"began with the parameters of {record['workdir']}, step {record['step']:,} "
    f"(SHA-256 {record['params_sha256'][:16]}...)"
  ]


def unscored_lines(train: TrainConfig) -> list[str]:
  """Returns a warning if `keep_best` has few checkpoints to choose from, as few have a score."""
  every_scored = math.lcm(train.evaluate_every, train.checkpoint_every)
  if not train.keep_best or every_scored in (train.evaluate_every, train.checkpoint_every):
    return []
  return [
    f"warning: --keep_best={train.keep_best} chooses among every {every_scored:,}th step and the "
    "last: only they are evaluated and saved; make one of "
    f"--evaluate_every={train.evaluate_every} and --checkpoint_every={train.checkpoint_every} "
    "divide the other"
  ]
