"""Byte-pair encoding (Section 5.1) by SentencePiece, on raw text."""

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Self

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID, DataConfig
from transformer_jax.data.tokenizers.pieces import (
  SPECIAL_PIECES,
  texts_without_unknown,
  tokens_before_eos,
  with_spaces,
)
from transformer_jax.data.tokenizers.training_text import no_text_error
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath

_FILE = "sentencepiece.model"


class SentencePieceTokenizer:
  """BPE by SentencePiece on raw text."""

  kind = "sentencepiece"
  vocab_size: int

  def __init__(self, model_bytes: bytes) -> None:
    self._model_bytes = model_bytes
    self._processor = library().SentencePieceProcessor(model_proto=model_bytes)
    self.vocab_size = self._processor.vocab_size()

  @classmethod
  def train(
    cls,
    data: DataConfig,
    texts: Iterable[str],
    data_root: StrPath,  # noqa: ARG003 (the other kinds read files)
  ) -> Self:
    """Learns `vocab_size` pieces from the texts.

    Unicode is normalized by SentencePiece's default, nmt_nfkc; every character is covered.

    Raises:
      DataError: the texts are empty, or `vocab_size` cannot be reached.
    """
    model = io.BytesIO()
    read_errors = []
    try:
      library().SentencePieceTrainer.train(
        sentence_iterator=_not_blank(texts, read_errors),
        model_writer=model,
        model_type="bpe",
        vocab_size=data.vocab_size,
        character_coverage=1.0,
        pad_id=PAD_ID,
        eos_id=EOS_ID,
        unk_id=UNK_ID,
        bos_id=-1,
        pad_piece=SPECIAL_PIECES[PAD_ID],
        eos_piece=SPECIAL_PIECES[EOS_ID],
        unk_piece=SPECIAL_PIECES[UNK_ID],
        num_threads=1,
        input_sentence_size=0,
        max_sentence_length=1 << 20,
        minloglevel=2,
        hard_vocab_limit=False,
      )
    except (RuntimeError, OSError) as error:
      if read_errors:  # the library wraps the error of reading the text
        raise read_errors[0] from None
      raise _learning_error(data, str(error)) from None
    return cls(model.getvalue())

  @classmethod
  def from_files(cls, files: dict[str, bytes]) -> Self:
    """Returns the tokenizer of a saved folder's files."""
    return cls(files[_FILE])

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content."""
    return {_FILE: self._model_bytes}

  def encode(
    self,
    text: str,
    is_target: bool = False,  # noqa: ARG002 (both sides are encoded alike)
  ) -> list[int]:
    """Returns the token ids of a text, without EOS."""
    return self._processor.encode(text)

  def texts(
    self,
    text: str,
    is_target: bool = False,  # noqa: ARG002 (both sides are encoded alike)
  ) -> list[str]:
    """Returns the text that each token of `encode(text)` stands for, normalized as it does."""
    return with_spaces(self._processor.encode(text, out_type=str))

  def texts_of(self, tokens: Iterable[int]) -> list[str]:
    """Returns what each token gives to the text of `decode`."""
    tokens = list(tokens)
    return texts_without_unknown(tokens, self.pieces(tokens))

  def decode(self, tokens: Iterable[int]) -> str:
    """Returns the text of the tokens before the first EOS, without UNK."""
    return self._processor.decode([t for t in tokens_before_eos(tokens) if t != UNK_ID])

  def pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns each token's piece."""
    return [self._processor.id_to_piece(int(token)) for token in tokens]


def _not_blank(texts: Iterable[str], read_errors: list[DataError]) -> Iterator[str]:
  """Yields the texts that are not blank; appends an error of reading them to `read_errors`."""
  try:
    for text in texts:
      if text.strip():
        yield text
  except DataError as error:
    read_errors.append(error)
    raise


def _learning_error(data: DataConfig, message: str) -> DataError:
  """Returns the error for a message of SentencePiece's trainer."""
  needed = re.search(r"required_chars\. (?P<given>\d+) vs (?P<least>\d+)", message)
  if needed:
    return DataError(
      f"--vocab_size={data.vocab_size}",
      "is less than the different characters of the training text, each a piece",
      f"raise --vocab_size to at least {needed['least']}",
    )
  if "sentences_.empty()" in message or "all_chars_count" in message:
    return no_text_error(data)
  return DataError(
    f"--vocab_size={data.vocab_size}",
    f"SentencePiece cannot learn it: {message.strip()}",
    "try another size, or other text",
  )


def library() -> Any:
  """Returns the package sentencepiece.

  Raises:
    DataError: it is not installed.
  """
  try:
    import sentencepiece  # noqa: PLC0415 (only this tokenizer needs it)
  except ImportError:
    raise DataError(
      "--tokenizer=sentencepiece", "needs the package sentencepiece", "pip install sentencepiece"
    ) from None
  return sentencepiece
