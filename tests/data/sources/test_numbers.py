"""Number words against answers by hand and an independent reader; splits without overlap."""

import hashlib
import re

import numpy as np
import pytest

from transformer_jax.config import Config
from transformer_jax.data.sources import numbers
from transformer_jax.data.sources.catalog import open_source
from transformer_jax.data.sources.numbers import NumbersSource, english, german

GERMAN = {
  0: "null",
  1: "eins",
  2: "zwei",
  3: "drei",
  4: "vier",
  5: "fünf",
  6: "sechs",
  7: "sieben",
  8: "acht",
  9: "neun",
  10: "zehn",
  11: "elf",
  12: "zwölf",
  13: "dreizehn",
  14: "vierzehn",
  15: "fünfzehn",
  16: "sechzehn",
  17: "siebzehn",
  18: "achtzehn",
  19: "neunzehn",
  20: "zwanzig",
  21: "einundzwanzig",
  22: "zweiundzwanzig",
  26: "sechsundzwanzig",
  27: "siebenundzwanzig",
  30: "dreißig",
  31: "einunddreißig",
  40: "vierzig",
  50: "fünfzig",
  60: "sechzig",
  66: "sechsundsechzig",
  70: "siebzig",
  77: "siebenundsiebzig",
  80: "achtzig",
  90: "neunzig",
  99: "neunundneunzig",
  100: "einhundert",
  101: "einhunderteins",
  110: "einhundertzehn",
  111: "einhundertelf",
  121: "einhunderteinundzwanzig",
  201: "zweihunderteins",
  616: "sechshundertsechzehn",
  717: "siebenhundertsiebzehn",
  999: "neunhundertneunundneunzig",
  1000: "eintausend",
  1001: "eintausendeins",
  1011: "eintausendelf",
  1100: "eintausendeinhundert",
  1101: "eintausendeinhunderteins",
  2001: "zweitausendeins",
  11000: "elftausend",
  21000: "einundzwanzigtausend",
  21021: "einundzwanzigtausendeinundzwanzig",
  100000: "einhunderttausend",
  100001: "einhunderttausendeins",
  101000: "einhunderteintausend",
  101101: "einhunderteintausendeinhunderteins",
  201001: "zweihunderteintausendeins",
  342006: "dreihundertzweiundvierzigtausendsechs",
  999999: "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
  1_000_000: "eine Million",
  1_000_001: "eine Million eins",
  2_000_000: "zwei Millionen",
  2_001_000: "zwei Millionen eintausend",
}
ENGLISH = {
  0: "zero",
  1: "one",
  13: "thirteen",
  20: "twenty",
  21: "twenty one",
  100: "one hundred",
  101: "one hundred one",
  342: "three hundred forty two",
  1000: "one thousand",
  1001: "one thousand and one",
  1099: "one thousand and ninety nine",
  1100: "one thousand one hundred",
  342006: "three hundred forty two thousand and six",
  999999: "nine hundred ninety nine thousand nine hundred ninety nine",
  1_000_000: "one million",
  1_000_040: "one million and forty",
  2_342_006: "two million three hundred forty two thousand and six",
}


@pytest.mark.parametrize("words, answers", [(german, GERMAN), (english, ENGLISH)])
def test_known_answers(words, answers):
  assert {number: words(number) for number in answers} == answers


_UNIT_WORDS = (
  "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
  "sechzehn siebzehn achtzehn neunzehn"
).split()
_UNITS = {word: value for value, word in enumerate(_UNIT_WORDS)}
_TENS = dict(
  zwanzig=20, dreißig=30, vierzig=40, fünfzig=50, sechzig=60, siebzig=70, achtzig=80, neunzig=90
)


def read_german(word):
  """Returns the number that a German word below a million names, read from left to right."""
  thousands, _, rest = word.rpartition("tausend")
  number = 1000 * _read_below_thousand(thousands) if thousands else 0
  return number + _read_below_thousand(rest)


def _read_below_thousand(word):
  hundreds, _, rest = word.rpartition("hundert")
  any_tens = "|".join(_TENS)
  units, tens = re.fullmatch(rf"(?:(.+)und(?={any_tens}))?({any_tens})?.*", rest).groups()
  if tens and rest == (f"{units}und{tens}" if units else tens):
    below = _TENS[tens] + (_UNITS[units] if units else 0)
  else:
    below = _UNITS[{"eins": "ein"}.get(rest, rest)] if rest else 0
  return (100 * _UNITS[hundreds] if hundreds else 0) + below


def test_german_reads_back():
  numbers = [*range(1, 2500), *np.random.default_rng(0).integers(0, 1_000_000, 3000).tolist()]
  assert [read_german(german(number)) for number in numbers] == numbers


def test_no_two_numbers_share_words():
  numbers = range(0, 1_000_000, 37)
  for words in (german, english):
    assert len({words(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize(
  "limit, sizes",
  [
    pytest.param(1_000_000, (40_000, 500, 1000), marks=pytest.mark.slow),
    (100_000, (40_000, 500, 1000)),
  ],
)
def test_splits_share_no_number(limit, sizes):
  source = NumbersSource(limit, 40_000)
  splits = [list(source.pairs(name)) for name in ("train", "valid", "test")]
  assert tuple(map(len, splits)) == sizes
  assert len(set().union(*splits)) == sum(sizes)
  pairs = {pair for split in splits for pair in split}
  assert pairs <= {(english(number), german(number)) for number in range(limit)}


def test_held_out_numbers_depend_only_on_the_limit():
  few = NumbersSource(1_000_000, 100)
  many = NumbersSource(1_000_000, 5000)
  for split in ("valid", "test"):
    assert few.fingerprint(split) == many.fingerprint(split)
    assert few.fingerprint(split) != NumbersSource(500_000, 100).fingerprint(split)
  assert list(few.pairs("train")) == list(many.pairs("train"))[:100]
  assert few.fingerprint("train") != many.fingerprint("train")


def test_a_small_range_gives_what_it_has():
  source = NumbersSource(100, 10_000)
  splits = {name: list(source.pairs(name)) for name in ("train", "valid", "test")}
  assert sum(map(len, splits.values())) == 100
  assert all(splits.values())


def test_open_source_reads_the_settings():
  source = open_source(Config().replace(numbers_limit=5000, numbers_train_size=7).data)
  assert list(source.pairs("train")) == list(NumbersSource(5000, 7).pairs("train"))


def test_small_numbers_are_all_in_training_and_nowhere_else():
  source = NumbersSource(1_000_000, 5000, all_below=100)
  train, valid, test = (list(source.pairs(name)) for name in ("train", "valid", "test"))
  small = {(english(number), german(number)) for number in range(100)}
  assert (len(train), len(valid), len(test)) == (5000, 500, 1000)
  assert small <= set(train) and not small & {*valid, *test} and not set(train) & {*valid, *test}
  assert min(train.count(pair) for pair in small) >= 2
  assert 0.1 <= sum(pair in small for pair in train) / 5000 < 0.2
  old = set(NumbersSource(1_000_000, 5000).pairs("test"))
  assert len(set(test) & old) > 950  # other held-out numbers stay what they were


def test_few_training_pairs_still_hold_each_small_number_once():
  train = list(NumbersSource(1000, 120, all_below=100).pairs("train"))
  assert len(train) == 120
  assert {english(number) for number in range(100)} <= {source for source, _ in train}


@pytest.mark.parametrize(
  "limit, expected",
  [
    (100, "7adebd476a5e38bb"),
    (1000, "bab54656fc4d85c1"),
    (5000, "50753fc2b334e95b"),
    (1_000_000, "3a1ea112e484dcfe"),
  ],
)
def test_the_pairs_are_the_same_as_in_older_runs(limit, expected):
  """Checkpoints contain a fingerprint, so only settings that were added later may change it."""
  source = NumbersSource(limit, 400)
  fingerprints = "".join(source.fingerprint(split) for split in ("train", "valid", "test"))
  assert hashlib.sha256(fingerprints.encode()).hexdigest()[:16] == expected


def test_a_small_range_is_not_drawn_in_vain(monkeypatch):
  """All numbers are found in the first draw of 200,000, so there is no second one."""
  sizes = []
  split_of = numbers._split_of

  def counted(found):
    sizes.append(len(found))
    return split_of(found)

  monkeypatch.setattr(numbers, "_split_of", counted)
  assert len(list(NumbersSource(1000, 400).pairs("valid"))) == 20
  assert sizes == [1000, 200_000]
