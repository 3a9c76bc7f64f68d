"""Labeled bracket scores by EVALB's rules (Sekine & Collins 1997, with Ellis's quotation-mark fix
of 2006).

A tree is anything with `leaves`, pairs (tag, word), and `constituents`, triples (label, start, end)
in the order in which they open. Sentences that EVALB cannot score are counted, but left out of its
totals: an empty answer is skipped, and one with other words is an error.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

VALID, ERROR, SKIPPED = 0, 1, 2  # EVALB's "status"

_QUOTES = ("'", '"', "/")  # words whose tags parsers mistake

Bracket = tuple[str, int, int]  # label, start, end


class ScoredTree(Protocol):
  """A tree as this file reads it."""

  @property
  def leaves(self) -> Sequence[tuple[str, str]]:
    """(tag, word) of each leaf."""
    ...

  @property
  def constituents(self) -> Sequence[Bracket]:
    """(label, start, end) of each constituent, in the order in which they open."""
    ...


@dataclasses.dataclass(frozen=True)
class Parameters:
  """The contents of a parameter file."""

  delete_labels: tuple[str, ...]  # these constituents lose their brackets, these leaves their words
  delete_labels_for_length: tuple[str, ...] = ("-NONE-",)
  equal_labels: tuple[tuple[str, str], ...] = (("ADVP", "PRT"),)
  equal_words: tuple[tuple[str, str], ...] = ()
  # Tags of quotation marks. A mark that only one side deletes is restored on that side.
  quote_labels: tuple[str, ...] = ()
  cutoff_length: int = 40
  max_error: int = 10
  is_labeled: bool = True


_COLLINS = ("TOP", "-NONE-", ",", ":", "``", "''", ".")
PARAMETERS = {
  "collins": Parameters(_COLLINS),
  "new": Parameters(
    ("TOP", "S1", *_COLLINS[1:], "?", "!"), quote_labels=("``", "''", "POS", "NN", "CD", "VBZ", ":")
  ),
}

_IGNORED = ("DEBUG",)  # numbers that change no score
_NUMBERS = {  # keyword -> field with an integer, of which the last line counts
  "MAX_ERROR": "max_error",
  "CUTOFF_LEN": "cutoff_length",
  "LABELED": "is_labeled",
}
_WORDS = {  # keyword -> field with words, one from each line of the keyword
  "DELETE_LABEL": "delete_labels",
  "DELETE_LABEL_FOR_LENGTH": "delete_labels_for_length",
  "QUOTE_LABEL": "quote_labels",
}
_PAIRS = {  # keyword -> field with pairs of words, one from each line of the keyword
  "EQ_LABEL": "equal_labels",
  "EQ_WORD": "equal_words",
}


def read_parameters(lines: Iterable[str]) -> Parameters:
  """Returns the Parameters in the lines of a parameter file.

  Raises:
    ValueError: a keyword or value that EVALB does not know; the message begins with the line's
      number.
  """
  fields: dict[str, Any] = dict.fromkeys((*_WORDS.values(), *_PAIRS.values()), ())
  for number, line in enumerate(lines, 1):
    text = line.strip()
    if text.startswith("#") or len(text) < 3:
      continue
    keyword, *values = text.split()
    try:
      _read_parameter(fields, keyword, values)
    except ValueError as error:
      raise ValueError(f"{number}: {error}") from None
  fields["is_labeled"] = bool(fields.get("is_labeled", True))
  return Parameters(**fields)


def _read_parameter(fields: dict[str, Any], keyword: str, values: list[str]) -> None:
  """Adds the values of one line to `fields`.

  Raises:
    ValueError: EVALB does not know the keyword, or has another number or type of values for it.
  """
  if keyword not in (*_IGNORED, *_NUMBERS, *_WORDS, *_PAIRS):
    raise ValueError(f"'{keyword}' is not a keyword of EVALB")
  if len(values) != (2 if keyword in _PAIRS else 1):
    raise ValueError(f"{keyword} has {len(values)} values")
  if keyword in _PAIRS:
    fields[_PAIRS[keyword]] += (tuple(values),)
  elif keyword in _WORDS:
    fields[_WORDS[keyword]] += (values[0],)
  else:
    value = int(values[0])
    if keyword in _NUMBERS:
      fields[_NUMBERS[keyword]] = value


@dataclasses.dataclass(frozen=True)
class SentenceScore:
  """A line of EVALB's table."""

  length: int  # gold words without traces
  status: int = VALID
  matched: int = 0
  gold: int = 0  # brackets
  predicted: int = 0  # brackets
  crossing: int = 0  # predicted brackets that cross a gold one
  words: int = 0
  correct_tags: int = 0
  labels: tuple[tuple[str, str], ...] = ()  # (label, "matched" | "gold" | "predicted") by bracket

  @property
  def is_complete(self) -> bool:
    """True if the brackets are exactly the gold ones."""
    return self.gold == self.predicted == self.matched


def score_sentence(
  gold: ScoredTree,
  predicted: ScoredTree,
  parameters: Parameters = PARAMETERS["collins"],
  is_readable: bool = True,
) -> SentenceScore:
  """Returns the score of a predicted tree.

  Args:
    gold, predicted: the trees.
    parameters: EVALB's rules.
    is_readable: False if one of the texts was not a tree, which EVALB calls an error.
  """
  length = sum(tag not in parameters.delete_labels_for_length for tag, _ in gold.leaves)
  gold_side = _Side(gold, parameters)
  predicted_side = _Side(predicted, parameters)
  if not predicted_side.num_words:
    return SentenceScore(length, SKIPPED)
  if gold_side.num_words != predicted_side.num_words:
    _restore_quotes(gold_side, predicted_side)
  if not is_readable or not _have_equal_words(gold_side, predicted_side, parameters):
    return SentenceScore(length, ERROR)
  return _score_valid(length, gold_side, predicted_side, parameters)


def _score_valid(
  length: int, gold: "_Side", predicted: "_Side", parameters: Parameters
) -> SentenceScore:
  """Returns the score of a sentence with the same words on both sides."""
  gold_brackets = gold.brackets()
  predicted_brackets = predicted.brackets()
  gold_has_match, predicted_has_match = _match(gold_brackets, predicted_brackets, parameters)
  labels = []
  for (label, _, _), has_match in zip(predicted_brackets, predicted_has_match, strict=True):
    labels.append((label, "matched" if has_match else "predicted"))
  for (label, _, _), has_match in zip(gold_brackets, gold_has_match, strict=True):
    if not has_match:
      labels.append((label, "gold"))
  gold_leaves = gold.leaves()
  correct_tags = 0
  for (gold_tag, _), (tag, _) in zip(gold_leaves, predicted.leaves(), strict=True):
    correct_tags += _equal(gold_tag, tag, parameters.equal_labels)
  return SentenceScore(
    length,
    matched=sum(gold_has_match),
    gold=len(gold_brackets),
    predicted=len(predicted_brackets),
    crossing=_count_crossing(gold_brackets, predicted_brackets),
    words=len(gold_leaves),
    correct_tags=correct_tags,
    labels=tuple(labels),
  )


class _Side:
  """The leaves and brackets of one tree that are not deleted.

  `counts` says how often each leaf counts: 0 if it is deleted, else 1. `_restore_quotes` raises it,
  sometimes to 2.
  """

  def __init__(self, tree: ScoredTree, parameters: Parameters) -> None:
    self._tree = tree
    self._parameters = parameters
    self.counts = [int(tag not in parameters.delete_labels) for tag, _ in tree.leaves]

  @property
  def num_words(self) -> int:
    """Number of words that count."""
    return sum(self.counts)

  def leaves(self) -> list[tuple[str, str]]:
    """Returns the leaves, each repeated `counts` times."""
    leaves = []
    for leaf, count in zip(self._tree.leaves, self.counts, strict=True):
      leaves += [leaf] * count
    return leaves

  def brackets(self) -> list[Bracket]:
    """Returns (label, start, end) over the words that count, without empty or deleted brackets."""
    words_before = [0]
    for count in self.counts:
      words_before.append(words_before[-1] + count)
    brackets = []
    for label, first, end in self._tree.constituents:
      bracket = _stem(label), words_before[first], words_before[end]
      if bracket[1] < bracket[2] and not self._is_deleted_label(bracket[0]):
        brackets.append(bracket)
    return brackets

  def quotes(self) -> list[list[int]]:
    """Returns [word index, leaf index] of every quotation mark, also of deleted ones.

    The word index is the number of words before the mark, without deleted ones.
    """
    quotes = []
    num_words = 0
    for index, ((tag, word), count) in enumerate(zip(self._tree.leaves, self.counts, strict=True)):
      if tag in self._parameters.quote_labels and word in _QUOTES:
        quotes.append([num_words, index])
      num_words += count
    return quotes

  def is_deleted_leaf(self, index: int) -> bool:
    """Returns True if the leaf's tag is one that is deleted."""
    return self._tree.leaves[index][0] in self._parameters.delete_labels

  def _is_deleted_label(self, label: str) -> bool:
    equal_labels = self._parameters.equal_labels
    return any(_equal(label, deleted, equal_labels) for deleted in self._parameters.delete_labels)


def _restore_quotes(gold: _Side, predicted: _Side) -> None:
  """Restores the quotation marks that only one side deleted.

  EVALB can restore one twice; so does this.
  """
  gold_quotes = gold.quotes()
  predicted_quotes = predicted.quotes()
  # The inner loop changes the lists: EVALB, too, goes on with the shifted word indices, except for
  # that of the current mark.
  for number, (word, leaf) in enumerate(predicted_quotes):
    for gold_number, (gold_word, gold_leaf) in enumerate(gold_quotes):
      is_gold_deleted = gold.is_deleted_leaf(gold_leaf)
      if gold_word != word or is_gold_deleted == predicted.is_deleted_leaf(leaf):
        continue
      if is_gold_deleted:
        _restore(gold, gold_quotes[gold_number:])
      else:
        _restore(predicted, predicted_quotes[number:])


def _restore(side: _Side, quotes: list[list[int]]) -> None:
  """Counts the first mark once more, and raises the word index of it and of those after it."""
  _, leaf = quotes[0]
  side.counts[leaf] += 1
  for quote in quotes:
    quote[0] += 1


def _have_equal_words(gold: _Side, predicted: _Side, parameters: Parameters) -> bool:
  """Returns True if both sides have the same words."""
  if gold.num_words != predicted.num_words:
    return False
  pairs = zip(gold.leaves(), predicted.leaves(), strict=True)
  return all(_equal(gold_word, word, parameters.equal_words) for (_, gold_word), (_, word) in pairs)


def _match(
  gold: Sequence[Bracket], predicted: Sequence[Bracket], parameters: Parameters
) -> tuple[list[bool], list[bool]]:
  """Returns which gold and which predicted brackets have a match.

  Each gold bracket, in order, takes the first equal one that is not taken yet.
  """
  gold_has_match = [False] * len(gold)
  predicted_has_match = [False] * len(predicted)
  at_span = collections.defaultdict(list)
  for number, (label, start, end) in enumerate(predicted):
    at_span[start, end].append((number, label))
  for gold_number, (label, start, end) in enumerate(gold):
    for number, other in at_span[start, end]:
      is_equal = not parameters.is_labeled or _equal(label, other, parameters.equal_labels)
      if is_equal and not predicted_has_match[number]:
        gold_has_match[gold_number] = True
        predicted_has_match[number] = True
        break
  return gold_has_match, predicted_has_match


def _count_crossing(gold: Iterable[Bracket], predicted: Iterable[Bracket]) -> int:
  """Returns the number of predicted brackets that overlap a gold one, neither inside the other."""
  gold_spans = {(start, end) for _, start, end in gold}
  crosses: dict[tuple[int, int], bool] = {}  # predicted span -> whether it crosses a gold one
  num_crossing = 0
  for _, start, end in predicted:
    if (start, end) not in crosses:
      crosses[start, end] = any(_cross((start, end), span) for span in gold_spans)
    num_crossing += crosses[start, end]
  return num_crossing


def _cross(span: tuple[int, int], other: tuple[int, int]) -> bool:
  start, end = span
  other_start, other_end = other
  return other_start < start < other_end < end or start < other_start < end < other_end


def _stem(label: str) -> str:
  """Returns the label up to its first hyphen or equals sign."""
  return label.split("-")[0].split("=")[0]


def _equal(a: str, b: str, pairs: Sequence[tuple[str, str]]) -> bool:
  return a == b or (a, b) in pairs or (b, a) in pairs


def summarize(scores: Iterable[SentenceScore], cutoff_length: int | None = None) -> dict[str, Any]:
  """Returns EVALB's summary of sentences: counts and percentages.

  Args:
    scores: the sentences.
    cutoff_length: leave out sentences with more words than this.
  """
  if cutoff_length is not None:
    scores = [score for score in scores if score.length <= cutoff_length]
  scores = list(scores)
  valid = [score for score in scores if score.status == VALID]
  totals = {
    name: sum(getattr(score, name) for score in valid)
    for name in ("matched", "gold", "predicted", "crossing", "words", "correct_tags")
  }
  recall = percent(totals["matched"], totals["gold"])
  precision = percent(totals["matched"], totals["predicted"])
  return dict(
    sentences=len(scores),
    error_sentences=sum(score.status == ERROR for score in scores),
    skipped_sentences=sum(score.status == SKIPPED for score in scores),
    valid_sentences=len(valid),
    recall=recall,
    precision=precision,
    f1=harmonic_mean(precision, recall),
    complete_match=percent(sum(score.is_complete for score in valid), len(valid)),
    average_crossing=totals["crossing"] / len(valid) if valid else 0.0,
    no_crossing=percent(sum(score.crossing == 0 for score in valid), len(valid)),
    two_or_less_crossing=percent(sum(score.crossing <= 2 for score in valid), len(valid)),
    tagging_accuracy=percent(totals["correct_tags"], totals["words"]),
    **totals,
  )


def harmonic_mean(precision: float, recall: float) -> float:
  """Returns the F1 of a precision and a recall; 0 if both are 0."""
  if not precision + recall:
    return 0.0
  return 2 * precision * recall / (precision + recall)


def f1_of_statistics(sums: np.ndarray) -> np.ndarray:
  """Returns F1, 0 to 100, from sums of (matched, predicted, gold) brackets: [..., 3] gives [...].

  It is the harmonic mean of matched / predicted and matched / gold; 0 if none match.
  """
  sums = np.asarray(sums, np.float64)
  return 200 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)


def by_label(scores: Iterable[SentenceScore]) -> dict[str, dict[str, float]]:
  """Returns the counts, recall, precision and F1 of each label, the most frequent gold label first.

  Only valid sentences count.
  """
  counts = collections.Counter(item for score in scores for item in score.labels)
  table = {}
  for label in {label for label, _ in counts}:
    matched = counts[label, "matched"]
    gold = matched + counts[label, "gold"]
    predicted = matched + counts[label, "predicted"]
    recall = percent(matched, gold)
    precision = percent(matched, predicted)
    table[label] = dict(
      gold=gold,
      predicted=predicted,
      matched=matched,
      recall=recall,
      precision=precision,
      f1=harmonic_mean(precision, recall),
    )
  return dict(sorted(table.items(), key=lambda item: (-item[1]["gold"], item[0])))


def percent(part: float, whole: float) -> float:
  """Returns `part` in percent of `whole`; 0 if `whole` is 0."""
  return 100 * part / whole if whole else 0.0
