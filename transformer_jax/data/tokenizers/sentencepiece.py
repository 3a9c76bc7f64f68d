"""Byte-pair encoding (Section 5.1) by SentencePiece, on raw text."""

import functools
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from transformer_jax.config import EOS_ID, PAD_ID, UNK_ID, DataConfig
from transformer_jax.data.tokenizers.bpe import merge_with_dropout
from transformer_jax.data.tokenizers.pieces import (
  SPECIAL_PIECES,
  WordCache,
  texts_without_unknown,
  tokens_before_eos,
  with_spaces,
)
from transformer_jax.data.tokenizers.training_text import no_text_error
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath

_FILE = "sentencepiece.model"
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # at the start of a word's first piece


class SentencePieceTokenizer:
  """BPE by SentencePiece on raw text."""

  kind = "sentencepiece"
  vocab_size: int

  def __init__(self, model_bytes: bytes) -> None:
    self._model_bytes = model_bytes
    self._processor = library().SentencePieceProcessor(model_proto=model_bytes)
    self.vocab_size = self._processor.vocab_size()
    self._of_word = WordCache(self._processor.encode).__getitem__

  def __reduce__(self) -> tuple:
    return SentencePieceTokenizer, (self._model_bytes,)

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
    """Returns the token ids of a text, without EOS.

    Each word is encoded by itself, which gives the ids of the whole text: no piece reaches over a
    space. Most words have come before, so it takes a fraction of the library's time.
    """
    return list(itertools.chain.from_iterable(map(self._of_word, text.split(" "))))

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

  def cut_anew(self, tokens: Sequence[int], rate: float, draw: Callable[[], float]) -> list[int]:
    """Returns token ids of the same words by BPE-dropout; see `RandomCutter`.

    SentencePiece's own sampling cannot be seeded for each line, and does not try a merge again that
    it has left out once.
    """
    found = []
    word = []
    for token in tokens:
      if word and self._all_pieces[token].startswith(_SPACE):
        found += self._word_anew(word, rate, draw)
        word = []
      word.append(token)
    return found + self._word_anew(word, rate, draw)

  def _word_anew(self, word, rate, draw):
    if UNK_ID in word:
      return word
    text = "".join(self._all_pieces[token] for token in word)
    ids, ranks = self._ids_and_ranks
    return [ids.get(piece, UNK_ID) for piece in merge_with_dropout(text, ranks, rate, draw)]

  @functools.cached_property
  def _all_pieces(self) -> list[str]:
    return self.pieces(range(self.vocab_size))

  @functools.cached_property
  def _ids_and_ranks(self) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Returns piece -> id, and (left, right) -> rank of each merge that makes a piece of two.

    SentencePiece saves no merges: it makes any that gives a piece, first that of the lowest id.
    """
    ids = {piece: token for token, piece in enumerate(self._all_pieces) if token > UNK_ID}
    ranks = {}
    for piece, token in ids.items():
      for place in range(1, len(piece)):
        pair = piece[:place], piece[place:]
        if pair[0] in ids and pair[1] in ids:
          ranks[pair] = token
    return ids, ranks


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
