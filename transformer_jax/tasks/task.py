"""The contract between a task and the rest of the program, and the answer type of all tasks."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from transformer_jax.config import DataConfig
from transformer_jax.data.linearization import SymbolKind
from transformer_jax.data.tokenizers.tokenizer import SavableTokenizer


class Output(NamedTuple):
  """The text of an answer. `is_repaired` is True for a tree whose tokens did not describe one."""

  text: str
  is_repaired: bool = False


class Task(Protocol):
  """Turns text into tokens and tokens into text, and scores the result.

  `TranslationTask` and `ParsingTask` implement it. In every method, `is_preprocessed` says that the
  text has been through the configured preprocessing already.
  """

  logged_scores: ClassVar[tuple[str, ...]]  # names of the scores that a validation logs

  @property
  def config(self) -> DataConfig:
    """The data settings that the task was built from."""
    ...

  @property
  def tokenizer(self) -> SavableTokenizer:
    """The tokenizer, as `data.tokenizers.folder` saves and loads it."""
    ...

  @property
  def source_vocab_size(self) -> int:
    """Number of entries in the source vocabulary."""
    ...

  @property
  def target_vocab_size(self) -> int:
    """Number of entries in the target vocabulary."""
    ...

  @property
  def main_score(self) -> str:
    """Name of the score by which checkpoints and ablation rows are compared; higher is better."""
    ...

  def encode_source(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a source sentence, EOS at the end."""
    ...

  def encode_target(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a target, EOS at the end.

    Raises:
      DataError: the text cannot be a target of this task.
    """
    ...

  def decode_target(self, tokens: Sequence[int], source: str, detokenize: bool = False) -> Output:
    """Returns the answer to `source`, on one line, as text of its target tokens (without EOS).

    `detokenize` also undoes the preprocessing, where the task has one.
    """
    ...

  def source_pieces(self, tokens: Sequence[int]) -> list[str]:
    """Returns the sub-words of source tokens, for display."""
    ...

  def target_pieces(self, tokens: Sequence[int]) -> list[str]:
    """Returns the sub-words or symbols of target tokens, for display."""
    ...

  def count_words(self, text: str) -> int:
    """Returns the number of source words that the output must cover; 0 if there is no such rule."""
    ...

  def brackets(self) -> list[SymbolKind | None] | None:
    """Returns the kind of each target token that is part of a tree; None if none are."""
    ...

  def word_marks(self) -> tuple[bytes, bytes]:
    """Returns the tokens of each vocabulary that count as a word, as `Positions` takes them.

    They are empty if the task has no such words.
    """
    ...

  def problem_of(self, source: str, target: str) -> str:
    """Returns why this pair cannot be scored, or ""."""
    ...

  def score(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns the scores of outputs by name, `main_score` and `logged_scores` among them."""
    ...

  def statistics(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> np.ndarray:
    """Returns integer counts, [sentences, counts], whose sums give the main score."""
    ...

  def report(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns `score` and the further figures that `evaluate` prints for a test set."""
    ...

  def headline(self, result: dict[str, Any]) -> str:
    """Returns the main figures of an evaluation in one line."""
    ...
