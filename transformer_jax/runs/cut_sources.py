"""Sources that are longer than the model takes in: they are cut, and it is said."""

import sys

from transformer_jax import parallel
from transformer_jax.runs.search import cut, longest_source


def limit_of(config):
  """The setting that says where sources are cut, as a flag."""
  limit = longest_source(config)
  name = "max_source_length" if limit == config.decode.max_source_length else "max_positions"
  return f"--{name}={limit}"


class CutSources:
  """Counts the sources of a set that are cut; called with the number of each, from 1, and its tokens."""

  def __init__(self, config):
    self._config, self.count, self._first = config, 0, None

  def __call__(self, number, length):
    self.count += 1
    self._first = self._first or (number, length)

  def cut(self, number, tokens):
    """The tokens that the model takes in."""
    limit = longest_source(self._config)
    if len(tokens) > limit:
      self(number, len(tokens))
    return cut(tokens, limit)

  def say(self, name):
    """Says once on standard error how many were cut, if any; `name` is the set's, as a file's."""
    if self._first and parallel.is_primary():
      number, length = self._first
      print(
        f"transformer-jax: {name}:{number}: cut from {length} tokens to {limit_of(self._config)}, "
        f"the first of {self.count:,} that were cut",
        file=sys.stderr,
      )
