"""Hyperparameters of the search for an output."""

import dataclasses

from transformer_jax.config.setting import setting


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """Beam search as in Section 6.1, and the limits on what is decoded."""

  beam_size: int = setting(4, "hypotheses of the search; 1 is greedy search", low=1, high=1000)

  length_penalty: float = setting(0.6, "alpha", low=0.0, high=10.0)

  length_penalty_form: str = setting(
    "gnmt",
    "((5 + length) / 6)^alpha, as in the paper, or length^alpha",
    choices=("gnmt", "power"),
  )

  early_stopping: str = setting(
    "exact",
    "exact: a search ends when no better output can come; first: when beam_size outputs have "
    "finished, as in other toolkits, which is sooner and not always the best",
    choices=("exact", "first"),
    added_later=True,
  )

  constrained: bool = setting(
    False, "parsing: allow only well-formed trees over the input words", added_later=True
  )

  max_extra_length: int = setting(
    50, "the output is at most this many tokens longer than the input", low=0, high=100_000
  )

  decode_batch_tokens: int = setting(
    4096,
    "padded source positions decoded at once, over all devices; a search on a CPU takes 1,024 for "
    "each core, if that is less",
    low=1,
    high=10_000_000,
  )

  max_source_length: int = setting(
    1024, "source sentences are cut after this many tokens when translating", low=2, high=1 << 20
  )

  average_last: int = setting(
    1, "number of latest checkpoints whose parameters are averaged (paper: base 5, big 20)", low=1
  )
