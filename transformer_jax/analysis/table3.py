"""Table 3 of the paper (Section 6.2) as data: each row's settings and the paper's measurements.

Scores are the paper's on newstest2013, without checkpoint averaging, with beam 4 and alpha 0.6.
Perplexity is per word-piece. The paper gives millions of parameters for eleven rows only.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from transformer_jax.config import Config


@dataclasses.dataclass(frozen=True)
class Row:
  """One row: the settings in which it differs from the base model, and the paper's figures."""

  name: str
  file: str  # stem of its flag file in experiments/table3/: the change, as a ratio to base
  settings: Mapping[str, Any]
  perplexity: float
  bleu: float
  parameters_millions: int | None = None

  def config(self) -> Config:
    """Returns the row's Config, with the base model's settings where the row is blank."""
    return Config().replace(**self.settings)


def _row(
  name: str,
  file: str,
  perplexity: float,
  bleu: float,
  parameters_millions: int | None = None,
  **settings: Any,
) -> Row:
  return Row(name, file, types.MappingProxyType(settings), perplexity, bleu, parameters_millions)


# name, flag file, perplexity, BLEU, millions of parameters, settings that differ from base
ROWS: tuple[Row, ...] = (
  _row("base", "base", 4.92, 25.8, 65),
  _row("A h=1", "a_heads_eighth", 5.29, 24.9, num_heads=1, d_k=512, d_v=512),
  _row("A h=4", "a_heads_half", 5.00, 25.5, num_heads=4, d_k=128, d_v=128),
  _row("A h=16", "a_heads_double", 4.91, 25.8, num_heads=16, d_k=32, d_v=32),
  _row("A h=32", "a_heads_quadruple", 5.01, 25.4, num_heads=32, d_k=16, d_v=16),
  _row("B d_k=16", "b_keys_quarter", 5.16, 25.1, 58, d_k=16),
  _row("B d_k=32", "b_keys_half", 5.01, 25.4, 60, d_k=32),
  _row("C N=2", "c_layers_third", 6.11, 23.7, 36, num_layers=2),
  _row("C N=4", "c_layers_two_thirds", 5.19, 25.3, 50, num_layers=4),
  _row("C N=8", "c_layers_four_thirds", 4.88, 25.5, 80, num_layers=8),
  _row("C d=256", "c_width_half", 5.75, 24.5, 28, d_model=256, d_k=32, d_v=32),
  _row("C d=1024", "c_width_double", 4.66, 26.0, 168, d_model=1024, d_k=128, d_v=128),
  _row("C d_ff=1024", "c_ff_half", 5.12, 25.4, 53, d_ff=1024),
  _row("C d_ff=4096", "c_ff_double", 4.75, 26.2, 90, d_ff=4096),
  _row("D P_drop=0.0", "d_dropout_none", 5.77, 24.6, dropout_rate=0.0),
  _row("D P_drop=0.2", "d_dropout_double", 4.95, 25.5, dropout_rate=0.2),
  _row("D eps_ls=0.0", "d_smoothing_none", 4.67, 25.3, label_smoothing=0.0),
  _row("D eps_ls=0.2", "d_smoothing_double", 5.47, 25.7, label_smoothing=0.2),
  _row("E learned positions", "e_learned_positions", 4.92, 25.7, positions="learned"),
  _row(
    "big",
    "big",
    4.33,
    26.4,
    213,
    d_model=1024,
    d_ff=4096,
    num_heads=16,
    dropout_rate=0.3,
    train_steps=300_000,
  ),
)
