"""Finds the word of a line that each sub-word belongs to, whatever was done to the text between.

Preprocessing separates punctuation, escapes and lower-cases; SentencePiece normalizes Unicode. All
of it keeps the order of the letters, nearly. So the letters of the sub-words are laid beside those
of the line, from left to right.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

from transformer_jax.data.tokenizers.pieces import WORD_MARK

_WORD = re.compile(r"[^ \t\n\r\f\v]+")
_ESCAPE = re.compile(r"&(?:amp|apos|quot|lt|gt|#124|#91|#93);")  # those of Moses
_ACCENTS = range(0x300, 0x370)
# Where letters differ, this many equal ones in a row are looked for, this far ahead on both sides
# together: first a sure place to go on from, then a near one.
_RESUME = ((3, 16), (1, 4))


def words_of(text: str) -> list[str]:
  """Returns the words of a line: what spaces and tabs separate. Alignments number them from 0."""
  return _WORD.findall(text)


def words_of_pieces(pieces: Sequence[str], text: str) -> list[int | None]:
  """Returns for each piece the number of the word of `text` that its first letter belongs to.

  A piece of spaces belongs to the word after it. An empty piece has no word: None.

  Args:
    pieces: the text that each token stands for, in order.
    text: the line.

  Example:
    words_of_pieces(["ge", "kauft", "."], "Gekauft. Ja")  # [0, 0, 0]
    words_of_pieces(["&quot;", "ja", "&quot;"], "„Ja“")  # [0, 0, 0]
  """
  line, word_of_letter = _letters(words_of(text))
  letters, piece_of_letter = _letters(pieces)
  found: dict[int, int] = {}  # piece -> word
  if line:
    for place, piece in zip(_places(line, letters), piece_of_letter, strict=True):
      found.setdefault(piece, word_of_letter[place])
  following = None
  words = []
  for number in reversed(range(len(pieces))):
    following = found.get(number, following)
    words.append(following if pieces[number] else None)
  return words[::-1]


def _letters(parts: Iterable[str]) -> tuple[list[str], list[int]]:
  """Returns (the letters of all parts, the number of the part of each).

  Letters have no case, no accents and no width; escapes are undone, even where parts split them.
  """
  parts = list(parts)
  owners = [number for number, part in enumerate(parts) for _ in part]
  letters, numbers = [], []
  for begin, character in _unescaped("".join(parts)):
    for letter in unicodedata.normalize("NFKD", character.casefold()):
      if not letter.isspace() and letter != WORD_MARK and ord(letter) not in _ACCENTS:
        letters.append(letter)
        numbers.append(owners[begin])
  return letters, numbers


def _unescaped(text: str) -> Iterable[tuple[int, str]]:
  """Yields (place, character) of a text; an escape is one character."""
  begin = 0
  for escape in _ESCAPE.finditer(text):
    yield from enumerate(text[begin : escape.start()], begin)
    yield escape.start(), html.unescape(escape[0])
    begin = escape.end()
  yield from enumerate(text[begin:], begin)


def _places(line: list[str], letters: list[str]) -> list[int]:
  """Returns for each of the letters the place in the line that it came from."""
  places: list[int] = []
  here = 0
  while len(places) < len(letters) and here < len(line):
    skip_line, skip_letters = _skip(line, letters, here, len(places))
    places += [here] * skip_letters
    here += skip_line
    if not skip_line and not skip_letters:
      places.append(here)
      here += 1
  return places + [len(line) - 1] * (len(letters) - len(places))


def _skip(line: list[str], letters: list[str], here: int, there: int) -> tuple[int, int]:
  """Returns how many letters to leave out on each side, so that the next ones are equal."""
  if line[here] == letters[there]:
    return 0, 0
  for length, reach in _RESUME:
    for total in range(1, reach + 1):
      for skip in range(total + 1):
        wanted = line[here + skip : here + skip + length]
        begin = there + total - skip
        if wanted and wanted == letters[begin : begin + length]:
          return skip, total - skip
  return 1, 1
