"""The protocol of a tokenizer: the methods that every kind has."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable


class SavableTokenizer(Protocol):
  """Something that `folder` saves and loads: a `Tokenizer`, or a `ParsingTokenizer` of two."""

  kind: str  # written to tokenizer.json; it selects the class that loads the files

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content; the class method `from_files` takes the same dict."""
    ...


class Tokenizer(SavableTokenizer, Protocol):
  """Text to token ids and back. Ids 0, 1, 2 are PAD, EOS, UNK."""

  vocab_size: int

  def encode(self, text: str, is_target: bool = False) -> list[int]:
    """Returns the token ids of a text, without EOS.

    Most tokenizers encode both sides alike; an imported one may have a model for each.
    """
    ...

  def texts(self, text: str, is_target: bool = False) -> list[str]:
    """Returns the text that each token of `encode(text)` stands for, unknown ones too."""
    ...

  def texts_of(self, tokens: Iterable[int]) -> list[str]:
    """Returns what each token gives to the text of `decode`; "" if that is nothing."""
    ...

  def decode(self, tokens: Iterable[int]) -> str:
    """Returns the text of the tokens before the first EOS."""
    ...

  def pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns each token's piece, for display."""
    ...


@runtime_checkable
class RandomCutter(Protocol):
  """A tokenizer that can cut words into sub-words at random, for training (BPE-dropout)."""

  def cut_anew(self, tokens: Sequence[int], rate: float, draw: Callable[[], float]) -> list[int]:
    """Returns other token ids of the text that `tokens` are from, without EOS.

    A word stays as it is if it has an UNK, or if UNK would come into it. `rate` and `draw` are
    those of `bpe.merge_with_dropout`; rate 0 gives the same tokens.
    """
    ...
