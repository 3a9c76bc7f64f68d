"""A model that was read from a folder, as the parts of a run."""

from typing import Any, NamedTuple

from transformer_jax.config import Config
from transformer_jax.data.tokenizers.tokenizer import SavableTokenizer


class Imported(NamedTuple):
  """What a reader of folders returns.

  Attributes:
    config: its settings.
    tokenizer: its tokenizer.
    params: its parameters, a tree of float32 arrays.
    steps: the checkpoints that the parameters are from; [0] if it was not trained here.
    notes: lines on what of it could not be taken over.
  """

  config: Config
  tokenizer: SavableTokenizer
  params: dict[str, Any]
  steps: list[int]
  notes: list[str]
