"""The built-in task: English number words to German ones.

German says the units before the tens and joins the words ("forty two" -> "zweiundvierzig"), so a model must look
crosswise. Which split a number belongs to depends on the number and the limit alone.
"""

import hashlib

import numpy as np

_ENGLISH = (
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
  "eighteen nineteen"
).split()
_ENGLISH_TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = (
  "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
  "achtzehn neunzehn"
).split()
_GERMAN_TENS = ". . zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()

_SPLITS = ("valid", "test", "train")
_HELD_OUT = dict(valid=500, test=1000)  # pairs, where the limit leaves as many
_DRAWS = 50  # after which a split that is still short of numbers has nearly all there are
_SMALL_SHARE = 10  # 1 training pair in so many is of the small numbers: met once, none is learned
_ZERO_SHARE = 100  # and 1 in so many is zero, whose words no other number has


def english(number):
  """Number words below a billion: 342006 -> "three hundred forty two thousand and six"."""
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
  words = [_ENGLISH[number // 100], "hundred"] if number >= 100 else []
  number %= 100
  if number >= 20:
    words.append(_ENGLISH_TENS[number // 10])
    number %= 10
  return words + ([_ENGLISH[number]] if number else [])


def german(number):
  """The same in German: 342006 -> "dreihundertzweiundvierzigtausendsechs"; millions are words of their own."""
  if number == 0:
    return "null"
  words = []
  if number >= 1_000_000:
    millions = number // 1_000_000
    words.append(
      "eine Million" if millions == 1 else f"{_german_below_thousand(millions)} Millionen"
    )
    number %= 1_000_000
  joined = f"{_german_below_thousand(number // 1000)}tausend" if number >= 1000 else ""
  joined += _german_below_thousand(number % 1000)
  if number % 100 == 1:  # the last "ein" of a number is "eins": hunderteins, tausendeins
    joined += "s"
  return " ".join([*words, joined] if joined else words)


def _german_below_thousand(number):
  text = f"{_GERMAN[number // 100]}hundert" if number >= 100 else ""
  number %= 100
  if number >= 20:
    units, tens = number % 10, _GERMAN_TENS[number // 10]
    return text + (f"{_GERMAN[units]}und{tens}" if units else tens)
  return text + (_GERMAN[number] if number else "")


class NumbersSource:
  """Pairs of number words below `limit`; no number is in two splits.

  All numbers below `all_below` belong to train, many times each.
  """

  def __init__(self, limit, train_size, all_below=0):
    self._limit, self._train_size, self._all_below = limit, train_size, all_below

  def pairs(self, split):
    """Yields (English, German)."""
    for number in self._numbers(split):
      yield english(number), german(number)

  def fingerprint(self, split):
    """SHA-256 of the split's text."""
    text = "\n".join(f"{source}\t{target}" for source, target in self.pairs(split))
    return hashlib.sha256(text.encode()).hexdigest()

  def _numbers(self, split):
    if split != "train":
      return self._drawn(split, _HELD_OUT[split])
    small = self._small()
    return small + self._drawn(split, self._train_size - len(small))

  def _small(self) -> list[int]:
    """The numbers below `all_below`, as often as their share of the training pairs asks for."""
    if not self._all_below:
      return []
    times = self._train_size // _SMALL_SHARE // self._all_below
    zeros = self._train_size // _ZERO_SHARE if times else 0
    return [*range(self._all_below)] * max(1, times) + [0] * zeros

  def _drawn(self, split, wanted):
    """Up to `wanted` of the split's other numbers, each once.

    All lengths in digits are equally likely to be drawn, so that short ones are met too.
    """
    wanted = min(wanted, self._count(split))
    rng = np.random.default_rng(self._limit)
    digits, found = len(str(self._limit - 1)), np.empty(0, np.int64)
    for _ in range(_DRAWS):
      lengths = rng.integers(1, digits + 1, 200_000)
      low, high = (
        np.where(lengths == 1, 0, 10 ** (lengths - 1)),
        np.minimum(10**lengths, self._limit),
      )
      drawn = rng.integers(low, high)
      found = np.concatenate([found, drawn[self._is_in(drawn, split)]])
      found = found[
        np.sort(np.unique(found, return_index=True)[1])
      ]  # each once, in the order drawn
      if len(found) >= wanted:
        break
    return found[:wanted].tolist()

  def _is_in(self, numbers, split):
    """Which numbers may be drawn for a split, bool."""
    return (_split_of(numbers) == _SPLITS.index(split)) & (numbers >= self._all_below)

  def _count(self, split) -> int:
    """How many numbers may be drawn for a split: few are found long before the last draw."""
    return int(self._is_in(np.arange(self._limit), split).sum())


def _split_of(numbers):
  """The split of each number, an index of _SPLITS, by a multiplicative hash: valid and test 1 in 50."""
  bucket = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) % np.uint64(
    50
  )
  return np.minimum(bucket, 2)
