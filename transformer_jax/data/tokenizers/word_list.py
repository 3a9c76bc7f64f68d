"""Space-separated tokens, over a list of known tokens: for text that is segmented already."""

from collections.abc import Iterable, Sequence
from typing import Self

from transformer_jax.config import UNK_ID, DataConfig
from transformer_jax.data.text import read_lines
from transformer_jax.data.tokenizers.pieces import (
  SPECIAL_PIECES,
  most_frequent,
  split_at_spaces,
  tokens_before_eos,
)
from transformer_jax.data.tokenizers.training_text import one_file
from transformer_jax.files import StrPath


class WordListTokenizer:
  """Text whose tokens are separated by spaces. "@@" at the end of a token joins it to the next."""

  kind = "segmented"
  vocab_size: int

  def __init__(self, vocabulary: Sequence[str]) -> None:
    self._pieces = [*SPECIAL_PIECES, *vocabulary]
    self._ids = {piece: number for number, piece in enumerate(self._pieces)}
    for piece in SPECIAL_PIECES:  # text that spells a special piece is unknown text
      del self._ids[piece]
    self.vocab_size = len(self._pieces)

  @classmethod
  def train(cls, data: DataConfig, texts: Iterable[str], data_root: StrPath) -> Self:
    """Reads the vocabulary file, or takes the most frequent tokens of the texts."""
    if not data.vocabulary_file:
      return cls(most_frequent(map(split_at_spaces, texts), data.vocab_size))
    path = one_file(data.vocabulary_file, data_root, "vocabulary_file")
    words = [line.split(" ")[0].split("\t")[0] for line in read_lines(path)]  # counts may follow
    return cls([word for word in dict.fromkeys(words) if word and word not in SPECIAL_PIECES])

  @classmethod
  def from_files(cls, files: dict[str, bytes]) -> Self:
    """Returns the tokenizer of a saved folder's files."""
    return cls(files["vocabulary.txt"].decode("utf-8").split("\n")[:-1])

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content."""
    vocabulary = self._pieces[len(SPECIAL_PIECES) :]
    return {"vocabulary.txt": "".join(f"{piece}\n" for piece in vocabulary).encode()}

  def segment(self, text: str) -> list[str]:
    """Returns the tokens of a text, known or not."""
    return split_at_spaces(text)

  def encode(
    self,
    text: str,
    is_target: bool = False,  # noqa: ARG002 (both sides are encoded alike)
  ) -> list[int]:
    """Returns the token ids of a text, without EOS."""
    return [self._ids.get(piece, UNK_ID) for piece in self.segment(text)]

  def texts(
    self,
    text: str,
    is_target: bool = False,  # noqa: ARG002 (both sides are encoded alike)
  ) -> list[str]:
    """Returns the text that each token of `encode(text)` stands for, unknown ones too."""
    return [piece.removesuffix("@@") for piece in self.segment(text)]

  def texts_of(self, tokens: Iterable[int]) -> list[str]:
    """Returns what each token gives to the text of `decode`."""
    return [piece.removesuffix("@@") for piece in self.pieces(tokens)]

  def decode(self, tokens: Iterable[int]) -> str:
    """Returns the text of the tokens before the first EOS, with "@@ " joined."""
    pieces = self.pieces(tokens_before_eos(tokens))
    return f"{' '.join(pieces)} ".replace("@@ ", "").rstrip(" ")

  def pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns each token's piece."""
    return [self._pieces[int(token)] for token in tokens]
