"""Errors for a split of the data without usable pairs; they name the files and a remedy."""

from collections.abc import Callable

from transformer_jax.config import DataConfig
from transformer_jax.data.encoded import Counts
from transformer_jax.data.sources.source import TextSource
from transformer_jax.errors import DataError


def refuse_blank(data: DataConfig, source: TextSource, split: str) -> None:
  """Refuses a split in which no pair has text on both sides, before anything is learned from it.

  Raises:
    DataError: names the files, and how many pairs lack which side.
  """
  pairs = no_source = no_target = 0
  for source_text, target_text in source.pairs(split):
    has_source, has_target = bool(source_text.strip()), bool(target_text.strip())
    if has_source and has_target:
      return
    pairs += 1
    no_source += not has_source
    no_target += not has_target
  if pairs:
    problem = (
      f"none of its {pairs:,} pairs has text on both sides: {no_source:,} have no source, "
      f"{no_target:,} no target"
    )
  else:
    problem = "has no pairs"
  is_all_training = data.data_source == "numbers" and data.numbers_all_below
  remedy = "lower --numbers_all_below" if is_all_training else "name files with text"
  raise DataError(_where(data, split), problem, remedy)


def nothing_left(
  data: DataConfig, split: str, counts: Counts, limit: str, lengths: Callable[[], list[int]]
) -> DataError:
  """Returns the error for a split whose pairs were all dropped.

  Args:
    data: the data settings.
    split: its name.
    counts: the pairs that were dropped.
    limit: the setting that would keep more of them if it were raised.
    lengths: function () -> number of tokens of each pair's longer side, for pairs with text on both
      sides.
  """
  dropped = sorted(counts.dropped.items())
  reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped) or "there were none"
  problem = f"no pairs are left: {reasons}"
  remedy = "give other text"
  if longer_sides := lengths():
    shortest, longest = min(longer_sides), max(longer_sides)
    problem += f"; their longer sides have {shortest:,} to {longest:,} tokens"
    remedy = f"raise --{limit} to at least {shortest}, or give other text"
  return DataError(_where(data, split), problem, remedy)


def _where(data: DataConfig, split: str) -> str:
  """Returns a name for the text of a split: its settings, or the source that needs none."""
  given = []
  if data.data_source in ("text", "treebank"):
    for side in ("source", "target", "sections", "trees"):
      if files := data.files(split, side):
        given.append(f"--{split}_{side}={files}")
  elif data.data_source == "huggingface":
    given += [f"--dataset={data.dataset}", f"--dataset_splits={data.dataset_splits}"]
  settings = ", ".join(given) or f"--data_source={data.data_source}"
  return f"{split} data ({settings})"
