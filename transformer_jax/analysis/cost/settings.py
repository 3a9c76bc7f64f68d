"""The settings of `cost`."""

import dataclasses
from collections.abc import Sequence

from transformer_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class StudySettings:
  """Settings of the study: the cases that it counts and measures. Fields are flags of `cost`."""

  d_model: int  # width of the sub-layer
  num_heads: Sequence[int]  # each is measured with heads of width d_model / h, and of width d_model
  d_k: Sequence[int]  # widths of queries and keys, at `fixed_heads` heads
  fixed_heads: int
  lengths: Sequence[int]  # of sentences
  kernels: Sequence[str]  # names in KERNELS; those that cannot run here are left out
  batch_tokens: int  # positions at once: a batch has batch_tokens / n sentences
  rounds: int  # timed rounds
  dtype: str  # of activations
  table_1_width: int  # width d of the layers of Table 1
  table_1_lengths: Sequence[int]
  sentence_length: int = 28  # mean tokens, for attention's share of a training run's operations

  def check(self) -> None:
    """Checks the numbers of heads.

    Raises:
      ConfigError: a number does not divide d_model, or 1 is missing.
    """
    named = [("--num_heads", h) for h in self.num_heads] + [("--fixed_heads", self.fixed_heads)]
    for flag, h in named:
      if self.d_model % h:
        raise ConfigError(
          flag, f"{h} heads do not divide --d_model={self.d_model}", "choose divisors"
        )
    if 1 not in self.num_heads:
      raise ConfigError(
        "--num_heads", "does not name 1, which the others are compared with", "add it"
      )
