"""What a run says about itself before it starts: the data, the batch, what differs from the paper, the parameters."""

import jax
import numpy as np

from transformer_jax.config import PAPER_TOKENS_PER_UPDATE, Config, unread_warnings

# Fields that say how a run is carried out, not what is learned.
_NOT_OF_THE_PAPER = {
  "data_source",
  "tfds_data_dir",
  "tfds_splits",
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


def overview(config, prepared, stream, params):
  """The lines to print before training."""
  return [
    *data_lines(config, prepared, stream),
    *difference_lines(config),
    *parameter_lines(params),
  ]


def data_lines(config, prepared, stream):
  """Direction, pairs kept and dropped, unknown tokens, tokens per update beside the paper's, and
  settings that nothing reads."""
  return [
    _data_line(config, prepared),
    *_unknown_lines(prepared.encoded),
    *_batch_lines(config, prepared, stream),
    *unread_warnings(config),
  ]


def _data_line(config, prepared):
  data = config.data
  parts = [
    f"{name} {counts.kept:,} pairs" + _dropped(counts) for name, counts in prepared.counts.items()
  ]
  task = prepared.task
  if data.task == "parsing":
    return f"data: sentences -> trees, {', '.join(parts)}; vocabularies of {task.source_vocab_size:,} sub-words and {task.target_vocab_size:,} symbols"
  return f"data: {data.source_language} -> {data.target_language}, {', '.join(parts)}; vocabulary {task.source_vocab_size:,}"


def _dropped(counts):
  reasons = ", ".join(
    f"{count:,} {reason}" for reason, count in sorted(counts.dropped.items()) if count
  )
  return f" (dropped: {reasons})" if reasons else ""


def _unknown_lines(encoded_splits):
  """The share of UNK on each side of a split that has any; a warning where training has much."""
  shares = {split: encoded.unknown_shares() for split, encoded in encoded_splits.items()}
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


def _batch_lines(config, prepared, stream):
  """Real tokens per update beside the paper's 25,000 + 25,000, with what would match if they are far off."""
  source, target = prepared.tokens_per_update(stream)
  shapes = ", ".join(f"{rows}x({s}+{t})" for rows, s, t in stream.shapes())
  yield (
    f"batch: {source:,.0f} source + {target:,.0f} target tokens per update ({config.data.batch_tokens:,} padded positions a side, "
    f"times {config.data.accumulation_steps}); the paper's: 25,000 + 25,000; shapes {shapes}"
  )
  wanted = round(PAPER_TOKENS_PER_UPDATE / target * config.data.accumulation_steps)
  if target < 0.75 * PAPER_TOKENS_PER_UPDATE:
    yield f"warning: updates are smaller than the paper's; --accumulation_steps={wanted} would match"
  elif target > 1.5 * PAPER_TOKENS_PER_UPDATE:
    yield "warning: updates are larger than the paper's; lower --batch_tokens or --accumulation_steps to match"


def difference_lines(config):
  """Each setting that differs from the paper's base model."""
  paper, ours = Config().to_flat(), config.to_flat()
  different = [name for name in ours if ours[name] != paper[name] and name not in _NOT_OF_THE_PAPER]
  if not different:
    return ["settings: the paper's base model, every one"]
  return [
    "settings that differ from the paper's base model:",
    *(f"  {name:24} {_show(ours[name]):>24}   paper: {_show(paper[name])}" for name in different),
  ]


def _show(value):
  text = str(value)
  return "-" if text == "" else text if len(text) <= 60 else text[:57] + "..."


def parameter_lines(params):
  """A table of parameter counts: one row for each part and layer, and the total."""
  rows = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    names = [key.key for key in path]
    part = ".".join(names[:2] if names[0] in ("encoder", "decoder") else names[:1])
    rows[part] = rows.get(part, 0) + int(np.prod(leaf.shape))
  total = sum(rows.values())
  return [
    "parameters:",
    *(f"  {part:24} {count:>14,}" for part, count in rows.items()),
    f"  {'total':24} {total:>14,}",
  ]
