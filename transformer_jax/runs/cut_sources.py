"""Cuts sources that are longer than the model takes; counts and reports them."""

import sys

from transformer_jax import parallel
from transformer_jax.config import EOS_ID, Config
from transformer_jax.files import StrPath


def longest_source(config: Config) -> int:
  """Returns how many source tokens, EOS included, the model takes when it decodes."""
  limit = config.decode.max_source_length
  if config.model.positions == "learned":
    return min(limit, config.model.max_positions)
  return limit


def cut(tokens: list[int], limit: int) -> list[int]:
  """Returns `tokens` if there are at most `limit`, else the first `limit` - 1 and EOS."""
  if len(tokens) <= limit:
    return tokens
  return [*tokens[: limit - 1], EOS_ID]


def source_limit(config: Config) -> str:
  """Returns the setting that limits the length of sources, as a flag."""
  limit = longest_source(config)
  name = "max_source_length" if limit == config.decode.max_source_length else "max_positions"
  return f"--{name}={limit}"


class CutSources:
  """Counts the sources of a set that are cut."""

  count: int

  def __init__(self, config: Config) -> None:
    self.count = 0
    self._config = config
    self._first: tuple[int, int] | None = None  # (number, length) of the first one

  def cut(self, number: int, tokens: list[int]) -> list[int]:
    """Returns the tokens of source `number` (from 1), cut to the number that the model takes."""
    limit = longest_source(self._config)
    if len(tokens) > limit:
      self.count += 1
      self._first = self._first or (number, len(tokens))
    return cut(tokens, limit)

  def report(self, name: StrPath) -> None:
    """Prints one line to standard error if sources were cut; `name` is the set's, as a file's."""
    if self._first is None or not parallel.is_primary():
      return
    number, length = self._first
    limit = source_limit(self._config)
    print(
      f"transformer-jax: {name}:{number}: cut from {length} tokens to {limit}, "
      f"the first of {self.count:,} that were cut",
      file=sys.stderr,
    )
