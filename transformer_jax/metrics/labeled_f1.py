"""Labelled bracket scores by EVALB's rules (Sekine & Collins 1997, with Ellis's quotation-mark fix of 2006).

A tree is anything with `leaves`, pairs (tag, word), and `constituents`, triples (label, start, end) in the order in which they
open. Sentences that EVALB cannot score are counted, and left out of its totals: an empty answer is skipped, other words are an error.
"""

import collections
import dataclasses

import numpy as np

VALID, ERROR, SKIPPED = 0, 1, 2  # EVALB's "status"

_QUOTES = ("'", '"', "/")  # words whose tag parsers mistake


@dataclasses.dataclass(frozen=True)
class Parameters:
  """What a parameter file says."""

  delete_labels: tuple[str, ...]  # constituents without their brackets; leaves without their words
  delete_labels_for_length: tuple[str, ...] = ("-NONE-",)
  equal_labels: tuple[tuple[str, str], ...] = (("ADVP", "PRT"),)
  equal_words: tuple[tuple[str, str], ...] = ()
  quote_labels: tuple[
    str, ...
  ] = ()  # tags of quotation marks: deleted on one side alone they are put back on it
  cutoff_length: int = 40
  max_error: int = 10
  is_labelled: bool = True


_COLLINS = ("TOP", "-NONE-", ",", ":", "``", "''", ".")
PARAMETERS = {
  "collins": Parameters(_COLLINS),
  "new": Parameters(
    ("TOP", "S1", *_COLLINS[1:], "?", "!"), quote_labels=("``", "''", "POS", "NN", "CD", "VBZ", ":")
  ),
}


def read_parameters(lines):
  """The Parameters of a parameter file's lines.

  Raises:
    ValueError: a keyword or value that EVALB does not know; the message begins with the line's number.
  """
  lists = collections.defaultdict(list)
  for number, line in enumerate(lines, 1):
    line = line.strip()
    if line.startswith("#") or len(line) < 3:
      continue
    keyword, *values = line.split()
    try:
      if keyword not in _KEYWORDS:
        raise ValueError(f"'{keyword}' is no keyword of EVALB")
      kind = _KEYWORDS[keyword][1]
      if len(values) != (2 if kind is tuple else 1):
        raise ValueError(f"{keyword} has {len(values)} values")
      lists[keyword].append(tuple(values) if kind is tuple else kind(values[0]))
    except ValueError as error:
      raise ValueError(f"{number}: {error}") from None
  single = {keyword for keyword, (_, kind) in _KEYWORDS.items() if kind is int}
  values = {
    name: lists[keyword][-1] if keyword in single else tuple(lists[keyword])
    for keyword, (name, _) in _KEYWORDS.items()
    if name and (keyword not in single or lists[keyword])
  }
  return Parameters(**{**values, "is_labelled": bool(values.get("is_labelled", True))})


_KEYWORDS = {  # keyword -> (field, type)
  "DEBUG": (None, int),
  "MAX_ERROR": ("max_error", int),
  "CUTOFF_LEN": ("cutoff_length", int),
  "LABELED": ("is_labelled", int),
  "DELETE_LABEL": ("delete_labels", str),
  "DELETE_LABEL_FOR_LENGTH": ("delete_labels_for_length", str),
  "QUOTE_LABEL": ("quote_labels", str),
  "EQ_LABEL": ("equal_labels", tuple),
  "EQ_WORD": ("equal_words", tuple),
}


@dataclasses.dataclass(frozen=True)
class SentenceScore:
  """A line of EVALB's table."""

  length: int  # gold words, traces not counted
  status: int = VALID
  matched: int = 0
  gold: int = 0  # brackets
  predicted: int = 0
  crossing: int = 0  # predicted brackets that cross a gold one
  words: int = 0
  correct_tags: int = 0
  labels: tuple = ()  # of each bracket: (label, "matched" | "gold" | "predicted")

  @property
  def is_complete(self):
    """Whether the brackets are the gold ones and no others."""
    return self.gold == self.predicted == self.matched


def score_sentence(gold, predicted, parameters=PARAMETERS["collins"], is_readable=True):
  """The SentenceScore of a predicted tree. `is_readable`: False where one of the texts was no tree, which EVALB calls an error."""
  length = sum(leaf[0] not in parameters.delete_labels_for_length for leaf in gold.leaves)
  kept = [_Kept(tree, parameters) for tree in (gold, predicted)]
  if not kept[1].count:
    return SentenceScore(length, SKIPPED)
  if kept[0].count != kept[1].count:
    _restore_quotes(*kept)
  pairs = list(zip(*(side.leaves() for side in kept)))
  if (
    kept[0].count != kept[1].count
    or not is_readable
    or not all(_equal(g[1], p[1], parameters.equal_words) for g, p in pairs)
  ):
    return SentenceScore(length, ERROR)
  gold_brackets, predicted_brackets = (side.brackets() for side in kept)
  is_matched = _match(gold_brackets, predicted_brackets, parameters)
  labels = [
    (bracket[0], "matched" if is_one else "predicted")
    for bracket, is_one in zip(predicted_brackets, is_matched[1], strict=True)
  ]
  labels += [
    (bracket[0], "gold")
    for bracket, is_one in zip(gold_brackets, is_matched[0], strict=True)
    if not is_one
  ]
  return SentenceScore(
    length,
    VALID,
    sum(is_matched[0]),
    len(gold_brackets),
    len(predicted_brackets),
    _crossing(gold_brackets, predicted_brackets),
    len(pairs),
    sum(_equal(g[0], p[0], parameters.equal_labels) for g, p in pairs),
    tuple(labels),
  )


class _Kept:
  """A tree's leaves and brackets that count."""

  def __init__(self, tree, parameters):
    self._tree, self._parameters = tree, parameters
    self.times = [
      int(leaf[0] not in parameters.delete_labels) for leaf in tree.leaves
    ]  # that each leaf counts

  @property
  def count(self):
    """Words that count."""
    return sum(self.times)

  def leaves(self):
    """The leaves that count."""
    return [
      leaf for leaf, times in zip(self._tree.leaves, self.times, strict=True) for _ in range(times)
    ]

  def brackets(self):
    """(label, start, end) over the words that count; none is empty, none is of a deleted label."""
    before = [0]
    for times in self.times:
      before.append(before[-1] + times)
    spans = (
      (_stem(label), before[start], before[end]) for label, start, end in self._tree.constituents
    )
    deleted, equal = self._parameters.delete_labels, self._parameters.equal_labels
    return [
      span
      for span in spans
      if span[1] < span[2] and not any(_equal(span[0], label, equal) for label in deleted)
    ]

  def quotes(self):
    """[index among the words that count, place among all leaves] of every quotation mark, deleted ones included."""
    found, index = [], 0
    for place, ((tag, word), times) in enumerate(zip(self._tree.leaves, self.times, strict=True)):
      if tag in self._parameters.quote_labels and word in _QUOTES:
        found.append([index, place])
      index += times
    return found

  def tag(self, place):
    """The tag of a leaf."""
    return self._tree.leaves[place][0]

  def is_deleted(self, place):
    """Whether a leaf's tag is one of those that are deleted."""
    return self.tag(place) in self._parameters.delete_labels


def _restore_quotes(gold, predicted):
  """Keeps a quotation mark that only one side calls punctuation, on that side too; EVALB may put one back twice, and so does this."""
  gold_quotes, predicted_quotes = gold.quotes(), predicted.quotes()
  for number, (index, place) in enumerate(predicted_quotes):
    for gold_number, (gold_index, gold_place) in enumerate(gold_quotes):
      if gold_index != index or gold.is_deleted(gold_place) == predicted.is_deleted(place):
        continue
      side, marks, first = (
        (gold, gold_quotes, gold_number)
        if gold.is_deleted(gold_place)
        else (predicted, predicted_quotes, number)
      )
      side.times[marks[first][1]] += 1
      for mark in marks[first:]:
        mark[0] += 1


def _match(gold, predicted, parameters):
  """Which gold and which predicted brackets have a partner: each gold one, in order, takes the first free equal one."""
  is_matched = [False] * len(gold), [False] * len(predicted)
  at_span = collections.defaultdict(list)
  for number, (label, *span) in enumerate(predicted):
    at_span[tuple(span)].append((number, label))
  for gold_number, (label, *span) in enumerate(gold):
    for number, other in at_span[tuple(span)]:
      if not is_matched[1][number] and (
        not parameters.is_labelled or _equal(label, other, parameters.equal_labels)
      ):
        is_matched[0][gold_number] = is_matched[1][number] = True
        break
  return is_matched


def _crossing(gold, predicted):
  """Predicted brackets that overlap some gold bracket without one holding the other."""
  spans = {(start, end) for _, start, end in gold}
  crosses = {
    (start, end): any(s < start < e < end or start < s < end < e for s, e in spans)
    for _, start, end in predicted
  }
  return sum(crosses[start, end] for _, start, end in predicted)


def _stem(label):
  """The label up to its first hyphen or equals sign."""
  return label.split("-")[0].split("=")[0]


def _equal(a, b, pairs):
  return a == b or (a, b) in pairs or (b, a) in pairs


def summarize(scores, cutoff_length=None):
  """EVALB's summary of sentences: counts and percentages, a dict.

  Args:
    scores: SentenceScores.
    cutoff_length: only sentences of at most so many words.
  """
  scores = [score for score in scores if cutoff_length is None or score.length <= cutoff_length]
  valid = [score for score in scores if score.status == VALID]
  totals = {
    name: sum(getattr(score, name) for score in valid)
    for name in ("matched", "gold", "predicted", "crossing", "words", "correct_tags")
  }
  recall, precision = (percent(totals["matched"], totals[name]) for name in ("gold", "predicted"))
  return dict(
    sentences=len(scores),
    error_sentences=sum(score.status == ERROR for score in scores),
    skipped_sentences=sum(score.status == SKIPPED for score in scores),
    valid_sentences=len(valid),
    recall=recall,
    precision=precision,
    f1=f1_of(precision, recall),
    complete_match=percent(sum(s.is_complete for s in valid), len(valid)),
    average_crossing=totals["crossing"] / len(valid) if valid else 0.0,
    no_crossing=percent(sum(s.crossing == 0 for s in valid), len(valid)),
    two_or_less_crossing=percent(sum(s.crossing <= 2 for s in valid), len(valid)),
    tagging_accuracy=percent(totals["correct_tags"], totals["words"]),
    **totals,
  )


def f1_of(precision, recall):
  """The harmonic mean; 0 where both are 0."""
  return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def f1_of_statistics(sums):
  """F1, 0 to 100, of sums of (matched, predicted, wanted) brackets: an array [..., 3] gives [...].

  It is the harmonic mean of matched / predicted and matched / wanted; 0 where none match.
  """
  sums = np.asarray(sums, np.float64)
  return 200 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)


def by_label(scores):
  """label -> dict of gold, predicted and matched brackets, recall, precision and F1; the most frequent first. Valid sentences."""
  counts = collections.Counter(item for score in scores for item in score.labels)
  table = {}
  for label in {label for label, _ in counts}:
    matched = counts[label, "matched"]
    gold, predicted = matched + counts[label, "gold"], matched + counts[label, "predicted"]
    recall, precision = percent(matched, gold), percent(matched, predicted)
    table[label] = dict(
      gold=gold,
      predicted=predicted,
      matched=matched,
      recall=recall,
      precision=precision,
      f1=f1_of(precision, recall),
    )
  return dict(sorted(table.items(), key=lambda item: (-item[1]["gold"], item[0])))


def percent(part, whole):
  """Of 100; 0 of nothing."""
  return 100 * part / whole if whole else 0.0
