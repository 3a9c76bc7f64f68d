"""The built-in translation task: English number words to German ones.

German says the units before the tens and joins the words ("forty two" -> "zweiundvierzig"), so the
alignment of the two sides crosses. The split of a number depends only on the number and the limit.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

_ENGLISH = (
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
  "sixteen seventeen eighteen nineteen"
).split()
_ENGLISH_TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = (
  "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
  "sechzehn siebzehn achtzehn neunzehn"
).split()
_GERMAN_TENS = ". . zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()

_SPLITS = ("valid", "test", "train")
_HELD_OUT = dict(valid=500, test=1000)  # pairs of a split, if the limit leaves enough
_DRAWS = 50  # the most rounds of drawing; after these a split has nearly all of its numbers
_DRAW_SIZE = 200_000  # numbers
_SMALL_SHARE = 10  # 1 training pair in 10 has a small number: a number seen once is not learned
_ZERO_SHARE = 100  # and 1 in 100 is zero, whose words no other number has


def english(number: int) -> str:
  """Returns the words of a number below a billion.

  Example:
    english(342006)  # "three hundred forty two thousand and six"
    german(342006)  # "dreihundertzweiundvierzigtausendsechs"
  """
  if number == 0:
    return "zero"
  words = []
  for unit, name in ((1_000_000, "million"), (1000, "thousand")):
    if number >= unit:
      words += [*_english_below_thousand(number // unit), name]
      number %= unit
  if 0 < number < 100 and words:
    words.append("and")
  return " ".join([*words, *_english_below_thousand(number)])


def _english_below_thousand(number):
  """Returns a list of words; an empty list for 0."""
  words = [_ENGLISH[number // 100], "hundred"] if number >= 100 else []
  number %= 100
  if number >= 20:
    words.append(_ENGLISH_TENS[number // 10])
    number %= 10
  if number:
    words.append(_ENGLISH[number])
  return words


def german(number: int) -> str:
  """Returns the German words of a number below a billion: one word, except for millions."""
  if number == 0:
    return "null"
  words = []
  millions = number // 1_000_000
  if millions == 1:
    words.append("eine Million")
  elif millions:
    words.append(f"{_german_below_thousand(millions)} Millionen")
  number %= 1_000_000
  joined = f"{_german_below_thousand(number // 1000)}tausend" if number >= 1000 else ""
  joined += _german_below_thousand(number % 1000)
  if number % 100 == 1:  # the last "ein" of a number is "eins": hunderteins, tausendeins
    joined += "s"
  if joined:
    words.append(joined)
  return " ".join(words)


def _german_below_thousand(number):
  """Returns one word; an empty string for 0."""
  text = f"{_GERMAN[number // 100]}hundert" if number >= 100 else ""
  number %= 100
  if number >= 20:
    units = number % 10
    tens = _GERMAN_TENS[number // 10]
    return text + (f"{_GERMAN[units]}und{tens}" if units else tens)
  return text + (_GERMAN[number] if number else "")


class NumbersSource:
  """Pairs of number words below `limit`; no number is in two splits.

  Args:
    limit: all numbers are below it.
    train_size: number of training pairs.
    all_below: all numbers below this are in train, many times each, and in no other split.
  """

  def __init__(self, limit: int, train_size: int, all_below: int = 0) -> None:
    self._limit = limit
    self._train_size = train_size
    self._all_below = all_below

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (English, German)."""
    for number in self._numbers(split):
      yield english(number), german(number)

  def fingerprint(
    self,
    split: str,
    by_content: bool = False,  # noqa: ARG002 (the text is always made anew)
  ) -> str:
    """Returns the SHA-256 of the split's text."""
    text = "\n".join(f"{source}\t{target}" for source, target in self.pairs(split))
    return hashlib.sha256(text.encode()).hexdigest()

  def count(self, split: str) -> None:
    """Returns None: the few pairs need no progress."""

  def _numbers(self, split) -> list[int]:
    if split != "train":
      return self._draw(split, _HELD_OUT[split])
    small = self._small_numbers()
    return small + self._draw(split, self._train_size - len(small))

  def _small_numbers(self) -> list[int]:
    """Returns the numbers below `all_below`, repeated to fill their share of the training pairs."""
    if not self._all_below:
      return []
    times = self._train_size // _SMALL_SHARE // self._all_below
    zeros = self._train_size // _ZERO_SHARE if times else 0
    return [*range(self._all_below)] * max(1, times) + [0] * zeros

  def _draw(self, split, size) -> list[int]:
    """Returns up to `size` of the split's other numbers, each once.

    All lengths in digits are equally likely, so that short numbers occur too.
    """
    size = min(size, self._count(split))
    rng = np.random.default_rng(self._limit)
    max_digits = len(str(self._limit - 1))
    found = np.empty(0, np.int64)
    for _ in range(_DRAWS):
      digits = rng.integers(1, max_digits + 1, _DRAW_SIZE)
      low = np.where(digits == 1, 0, 10 ** (digits - 1))
      high = np.minimum(10**digits, self._limit)
      drawn = rng.integers(low, high)
      found = _unique(np.concatenate([found, drawn[self._is_in(drawn, split)]]))
      if len(found) >= size:
        break
    return found[:size].tolist()

  def _is_in(self, numbers, split):
    """Returns which numbers may be drawn for a split, bool."""
    return (_split_of(numbers) == _SPLITS.index(split)) & (numbers >= self._all_below)

  def _count(self, split) -> int:
    """Returns how many numbers may be drawn for a split; few are found long before _DRAWS."""
    return int(self._is_in(np.arange(self._limit), split).sum())


def _unique(numbers):
  """Returns each number once, in the order in which they first occur."""
  _, first_places = np.unique(numbers, return_index=True)
  return numbers[np.sort(first_places)]


def _split_of(numbers):
  """Returns an index of _SPLITS for each number, by a multiplicative hash: valid, test 1 in 50."""
  hashed = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
  return np.minimum(hashed % np.uint64(50), 2)
