"""Byte-pair encoding (Section 5.1) by subword-nmt, on text whose words are separated by spaces.

The library learns the merge operations and reads its files; `bpe` applies them.
"""

import collections
import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from transformer_jax.config import UNK_ID, DataConfig
from transformer_jax.data.text import read_lines
from transformer_jax.data.tokenizers.bpe import JOIN, Merges, split_characters
from transformer_jax.data.tokenizers.pieces import (
  SPECIAL_PIECES,
  count_pieces,
  sort_by_frequency,
  split_at_spaces,
)
from transformer_jax.data.tokenizers.training_text import one_file
from transformer_jax.data.tokenizers.word_list import WordListTokenizer
from transformer_jax.errors import DataError
from transformer_jax.files import StrPath

_MANY_MERGES = 5000
# Marks a folder whose unknown sub-words are split; older tokenizers lack it and do not split.
_SPLITS_UNKNOWN = "splits_unknown.txt"


class SubwordNmtTokenizer(WordListTokenizer):
  """BPE by subword-nmt on text whose words are separated by spaces.

  Args:
    codes: merge operations, the content of subword-nmt's file.
    vocabulary: the sub-words that have ids.
    splits_unknown: split sub-words that are not in the vocabulary further, down to characters.
  """

  kind = "subword_nmt"

  def __init__(self, codes: str, vocabulary: Sequence[str], splits_unknown: bool = False) -> None:
    super().__init__(vocabulary)
    self._codes = codes
    self._splits_unknown = splits_unknown
    self._merges = _read_merges(codes, "codes.txt", self._ids if splits_unknown else None)

  @classmethod
  def train(cls, data: DataConfig, texts: Iterable[str], data_root: StrPath) -> Self:
    """Reads or learns the merges; the vocabulary is the texts' sub-words that fit.

    With BPE-dropout they are those of any cut, and not only those of the fixed one.
    """
    texts = list(texts)
    if data.bpe_codes:
      path = one_file(data.bpe_codes, data_root, "bpe_codes")
      codes = "".join(f"{line}\n" for line in read_lines(path))
    else:
      codes = learn_bpe(texts, data.bpe_merges)
    _warn_of_joins(texts)
    merges = _read_merges(codes, data.bpe_codes or "the learned codes")
    counts = count_pieces(_segment(merges, text) for text in texts)
    if data.bpe_dropout:
      for piece in merges.random_vocabulary(counts):
        counts[piece] += 0
    return cls(codes, _choose_vocabulary(counts, data.vocab_size), splits_unknown=True)

  @classmethod
  def from_files(cls, files: dict[str, bytes]) -> Self:
    """Returns the tokenizer of a saved folder's files."""
    codes = files["codes.txt"].decode("utf-8")
    vocabulary = files["vocabulary.txt"].decode("utf-8").split("\n")[:-1]
    return cls(codes, vocabulary, splits_unknown=_SPLITS_UNKNOWN in files)

  def files(self) -> dict[str, bytes]:
    """Returns file name -> content."""
    files = {"codes.txt": self._codes.encode(), **super().files()}
    if self._splits_unknown:
      files[_SPLITS_UNKNOWN] = b"Sub-words that are not in the vocabulary are split further.\n"
    return files

  def segment(self, text: str) -> list[str]:
    """Returns the sub-words of a text."""
    return _segment(self._merges, text)

  def cut_anew(self, tokens: Sequence[int], rate: float, draw: Callable[[], float]) -> list[int]:
    """Returns token ids of the same words by BPE-dropout; see `RandomCutter`."""
    found = []
    word = []
    for token in tokens:
      word.append(token)
      if not self._pieces[token].endswith(JOIN):
        found += self._word_anew(word, rate, draw)
        word = []
    return found + word  # left over only if the text itself ends in "@@"

  def _word_anew(self, word, rate, draw):
    if UNK_ID in word:
      return word
    text = "".join(self._pieces[token].removesuffix(JOIN) for token in word)
    pieces = self._merges.random_pieces(text, rate, draw)
    if not all(piece in self._ids for piece in pieces):
      return word  # a vocabulary that was made without dropout may lack letters
    return [self._ids[piece] for piece in pieces]


def _segment(merges, text):
  """Returns the sub-words of a text, the same as subword-nmt's `process_line`.

  Carriage returns at the ends of the text belong to the word next to them.
  """
  core = text.strip("\r\n ")
  start = text.index(core)
  pieces = []
  for word in split_at_spaces(core):
    pieces += merges.pieces(word)
  return split_at_spaces(text[:start] + " ".join(pieces) + text[start + len(core) :])


def _choose_vocabulary(counts: collections.Counter[str], vocab_size: int) -> list[str]:
  """Returns the most frequent sub-words, and the characters that spell the others.

  It takes as many sub-words as leave room for these characters. If there is never enough room, it
  takes only the most frequent sub-words.
  """
  room = vocab_size - len(SPECIAL_PIECES)
  ordered = sort_by_frequency(counts)
  if len(ordered) <= room:
    return ordered
  place = {piece: number for number, piece in enumerate(ordered)}
  missing = set()  # characters that the dropped sub-words need and that are not kept
  for num_kept in range(len(ordered) - 1, -1, -1):
    for character in split_characters(ordered[num_kept]):
      if place.get(character, num_kept) >= num_kept:
        missing.add(character)
    if num_kept + len(missing) <= room:
      return ordered[:num_kept] + sorted(missing)
  return ordered[:room]


def _warn_of_joins(texts):
  """Warns of words that end in "@@", subword-nmt's own mark."""
  num_lines = sum("@@ " in f"{text} " for text in texts)
  if num_lines:
    print(
      f"transformer-jax: {num_lines:,} lines of the training text have words that end in @@, which "
      "joins a word to the next: they will come back joined; text that is segmented already "
      "takes --tokenizer=segmented",
      file=sys.stderr,
    )


def learn_bpe(texts: Iterable[str], num_merges: int) -> str:
  """Returns subword-nmt's codes for `num_merges` merges learned from the texts: its file's content.

  Raises:
    DataError: no pair of letters occurs twice in the texts.
  """
  library, _ = _library()
  codes = io.StringIO()
  try:
    with _own_bar_if_slow(num_merges):
      library.learn_bpe((f"{text}\n" for text in texts), codes, num_merges)
  except ValueError:  # it asks for the most frequent of no pairs
    raise DataError(
      f"--bpe_merges={num_merges}",
      "the training text is too small to learn merges from",
      "give more text",
    ) from None
  lines = codes.getvalue().split("\n")[:-1]
  # The library cannot read its own codes if they have carriage returns.
  return "".join(f"{line}\n" for line in lines if "\r" not in line)


def _own_bar_if_slow(num_merges: int) -> contextlib.AbstractContextManager:
  """Returns a context that hides the library's progress bar, unless many merges are learned."""
  is_terminal = sys.stderr is not None and sys.stderr.isatty()
  if is_terminal and num_merges >= _MANY_MERGES:
    return contextlib.nullcontext()
  return contextlib.redirect_stderr(io.StringIO())


def _read_merges(codes, name, known=None):
  """Returns the Merges of codes; `name` is their file's, `known` as in `Merges`.

  Raises:
    DataError: they are not merge operations.
  """
  _, library = _library()
  try:
    if not codes.strip():
      raise ValueError("it is empty")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
      bpe = library.BPE(io.StringIO(codes))
  except (SystemExit, ValueError, IndexError):  # the library prints and exits
    raise DataError(
      name,
      "does not hold merge operations of subword-nmt",
      "name a file that subword-nmt learn-bpe wrote",
    ) from None
  return Merges(bpe.bpe_codes, bpe.version, known)


def _library() -> tuple[Any, Any]:
  """Returns subword-nmt's modules `learn_bpe` and `apply_bpe`."""
  try:
    from subword_nmt import apply_bpe, learn_bpe  # noqa: PLC0415 (only this tokenizer needs it)
  except ImportError:
    raise DataError(
      "--tokenizer=subword_nmt", "needs the package subword-nmt", "pip install subword-nmt"
    ) from None
  return learn_bpe, apply_bpe
