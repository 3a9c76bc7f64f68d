"""Limits of the service, declared once: a field's name is its flag's name."""

import dataclasses

from transformer_jax.config.setting import setting


@dataclasses.dataclass(frozen=True)
class Limits:
  """What one request may ask for, and how many may wait."""

  max_body_bytes: int = setting(1_000_000, "bytes of a request", low=100, high=1 << 30)

  max_lines: int = setting(200, "sentences of a request", low=1, high=100_000)

  max_characters: int = setting(5_000, "characters of a sentence", low=1, high=10_000_000)

  max_tokens: int = setting(20_000, "source tokens of a request", low=2, high=100_000_000)

  max_beam_size: int = setting(8, "beam size that a request may ask for", low=1, high=1000)

  max_weights: int = setting(
    1_000_000, "attention weights of an answer, over all layers and heads", low=100, high=1 << 30
  )

  max_waiting: int = setting(64, "requests that wait for the model", low=1, high=100_000)

  max_seconds: int = setting(
    60, "seconds until an answer that is not ready is given up", low=1, high=86_400
  )
