"""Constituency parsing (Section 6.3): sentences to trees in brackets, and labeled F1."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from transformer_jax.config import EOS_ID, PAD_ID, DataConfig
from transformer_jax.data.linearization import (
  CLOSE,
  LEAF,
  SymbolKind,
  SymbolPlace,
  linearize,
  symbol_kinds,
  symbol_places,
  to_tree,
)
from transformer_jax.data.tokenizers.parsing import ParsingTokenizer
from transformer_jax.data.trees import (
  ROOT,
  Constituent,
  Tree,
  TreeError,
  clean,
  parse_tree,
  with_tags,
)
from transformer_jax.errors import DataError
from transformer_jax.metrics.labeled_f1 import (
  PARAMETERS,
  VALID,
  Parameters,
  SentenceScore,
  by_label,
  harmonic_mean,
  percent,
  score_sentence,
  summarize,
)
from transformer_jax.tasks.task import Output

# These separate the words of a tree; any other white space is part of a word.
_SPACES = re.compile("[ \t\r\n\f\v]+")
_BRACKETS = {"(": "-LRB-", ")": "-RRB-"}  # how treebanks write a bracket in a word
_NO_TREE = Tree((), ())
_NOT_A_TREE = "is not a tree in brackets, (TOP ...)"
_NUM_SPECIAL = 3  # PAD, EOS and UNK
_LENGTHS = (10, 20, 40)  # the most words of a sentence in each range that F1 is reported of


@dataclasses.dataclass(frozen=True)
class ParsingTask:
  """Parses a sentence, space-separated words, to a tree on one line. Implements `Task`."""

  config: DataConfig
  tokenizer: ParsingTokenizer
  logged_scores: ClassVar[tuple[str, ...]] = ("f1", "complete_match", "repair_rate")

  @property
  def source_vocab_size(self) -> int:
    """Number of entries in the vocabulary of words."""
    return self.tokenizer.words.vocab_size

  @property
  def target_vocab_size(self) -> int:
    """Number of entries in the vocabulary of symbols."""
    return self.tokenizer.symbols.vocab_size

  @property
  def main_score(self) -> str:
    """The score that models are chosen by."""
    return "f1"

  def headline(self, result: dict[str, Any]) -> str:
    """Returns the main figures of an evaluation in one line."""
    evalb = result["evalb"]
    malformed_f1 = result["f1_malformed_match_nothing"]
    return (
      f"{result['sentences']:,} sentences, labeled F1 {result['f1']:.2f} "
      f"({malformed_f1:.2f} if malformed output matches nothing), "
      f"EVALB {evalb['f1']:.2f} with {evalb['left_out']} left out, "
      f"complete match {result['complete_match']:.2f}%, repaired {result['repair_rate']:.2f}%"
    )

  def count_words(self, text: str) -> int:
    """Returns the number of words, which are the leaves of the tree."""
    return len(split_words(text))

  def problem_of(self, source: str, target: str) -> str:
    """Returns why this pair cannot be scored, or ""."""
    tree, problem = _clean_tree(target)
    if problem:
      return problem
    if list(tree.words) != split_words(source):
      return "has other words than its sentence"
    return ""

  def encode_source(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a sentence, EOS at the end."""
    return [*self.tokenizer.encode_words(split_words(text)), EOS_ID]

  def encode_target(self, text: str, is_preprocessed: bool = False) -> list[int]:
    """Returns the tokens of a clean tree, EOS at the end.

    Raises:
      DataError: the text is not a tree.
    """
    tree, problem = _clean_tree(text)
    if problem:
      raise DataError(f"'{text[:60]}'", _NOT_A_TREE)
    symbols = linearize(tree, self.config.linearization)
    return [*self.tokenizer.symbols.encode(" ".join(symbols)), EOS_ID]

  def decode_target(self, tokens: Sequence[int], source: str, detokenize: bool = False) -> Output:
    """Returns the tree over the words of `source`, repaired if need be; "" if there are none."""
    words = split_words(source)
    if not words:
      return Output("")
    symbols = self.target_pieces(tokens)
    tree, is_repaired = to_tree(symbols, words, self.config.linearization, self._labels)
    return Output(str(tree), is_repaired)

  def symbol_places(self, text: str) -> tuple[Tree, list[SymbolPlace]]:
    """Returns a clean tree, and what each token of `encode_target(text)` is in it; of EOS None."""
    tree, _ = _clean_tree(text)
    symbols = linearize(tree, self.config.linearization)
    tree, places = symbol_places(symbols, tree.words, self.config.linearization)
    return tree, [*places, None]

  def source_pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns the sub-words of source tokens, for display."""
    return self.tokenizer.words.pieces(tokens)

  def target_pieces(self, tokens: Iterable[int]) -> list[str]:
    """Returns the symbols of target tokens."""
    return self.tokenizer.symbols.pieces(tokens)

  @functools.cached_property
  def _labels(self) -> set[str]:
    """The labels that have a closing symbol in this vocabulary."""
    return {item[1] for item in self.brackets() if item and item[0] == CLOSE}

  def brackets(self) -> list[SymbolKind | None]:
    """Returns the kind of each target token, as `symbol_kinds` does; None for PAD, EOS and UNK."""
    symbols = self.target_pieces(range(self.target_vocab_size))
    kinds = symbol_kinds(symbols, self.config.linearization)
    return [None] * _NUM_SPECIAL + kinds[_NUM_SPECIAL:]

  def word_marks(self) -> tuple[bytes, bytes]:
    """Returns the tokens of each vocabulary that count as a word, as `Positions` takes them.

    In the target the start symbol, PAD, counts with the leaves: so a position has the number of the
    next word.
    """
    is_word_C = [bool(kind and kind[0] == LEAF) for kind in self.brackets()]
    is_word_C[PAD_ID] = True
    return self.tokenizer.word_marks(), bytes(is_word_C)

  def score(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns labeled F1 by EVALB's rules (COLLINS.prm), and further figures.

    Outputs get the tags of the gold trees first. Every sentence counts: an output that is empty or
    has other words matches nothing, where EVALB would leave it out. EVALB's own figure, with
    repaired outputs taken as unreadable, is under "evalb".
    """
    gold_trees, trees, scores = _compare(outputs, references)
    return _figures(outputs, gold_trees, trees, scores)

  def statistics(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> np.ndarray:
    """Returns the bracket counts of each sentence, int64 [sentences, 3]: matched, predicted, gold.

    Their sums give the "f1" of `score` (`f1_of_statistics`).
    """
    gold_trees, _, scores = _compare(outputs, references)
    return _bracket_counts(scores, gold_trees)

  def report(
    self,
    outputs: Sequence[Output],
    references: Sequence[str],
    references_are_preprocessed: bool = False,
  ) -> dict[str, Any]:
    """Returns `score`, and more for a test set.

    The rest is EVALB's summary, of all sentences and of those of up to 40 words; F1 by the length
    of sentences; a table of labels; and a baseline that needs no model: the F1 of right-branching
    trees in which every constituent is an S, with labels compared and without.
    """
    gold_trees, trees, scores = _compare(outputs, references)
    rules = PARAMETERS["collins"]
    result = _figures(outputs, gold_trees, trees, scores)
    result["summary"] = summarize(scores)
    short_summary = summarize(scores, rules.cutoff_length)
    result[f"summary_up_to_{rules.cutoff_length}_words"] = short_summary
    result["by_length"] = _by_length(scores, gold_trees)
    result["labels"] = by_label(scores)
    without_labels = dataclasses.replace(rules, is_labeled=False)
    result["right_branching_f1"] = dict(  # these names are in files of earlier versions
      labelled=_right_branching_f1(gold_trees, rules),
      unlabelled=_right_branching_f1(gold_trees, without_labels),
    )
    return result


def right_branching(tree: Tree) -> Tree:
  """Returns the right-branching tree of the same leaves: a constituent is a word and the rest."""
  length = len(tree.leaves)
  starts = range(max(1, length - 1))
  constituents = [Constituent("S", start, length) for start in starts]
  return Tree(tree.leaves, (Constituent(ROOT, 0, length), *constituents))


def split_words(text: str) -> list[str]:
  """Returns the space-separated words, with brackets written as treebanks write them."""
  for bracket, name in _BRACKETS.items():
    text = text.replace(bracket, name)
  return [word for word in _SPACES.split(text) if word]


words_of = split_words  # the name in 0.3.0, which scripts may still use


def _clean_tree(text: str) -> tuple[Tree, str]:
  """Returns (the clean tree of a text, ""), or (some tree, the problem) if there is none."""
  try:
    tree = clean(parse_tree(text))
  except TreeError as error:
    return _NO_TREE, str(error)
  return (_NO_TREE, _NOT_A_TREE) if tree is None else (tree, "")


def _compare(
  outputs: Sequence[Output], references: Sequence[str]
) -> tuple[list[Tree], list[Tree], list[SentenceScore]]:
  """Returns the gold trees, the trees of the outputs with gold tags, and their scores."""
  gold_trees = [clean(parse_tree(text)) or _NO_TREE for text in references]
  trees = []
  scores = []
  for output, gold in zip(outputs, gold_trees, strict=True):
    tree = _with_gold_tags(output.text, gold)
    trees.append(tree)
    scores.append(score_sentence(gold, tree))
  return gold_trees, trees, scores


def _with_gold_tags(text: str, gold: Tree) -> Tree:
  """Returns the tree in a text with the tags of the gold tree; an empty one if the words differ.

  EVALB deletes punctuation by its tag.
  """
  tree = parse_tree(text)
  if tree.words != gold.words:
    return _NO_TREE
  return with_tags(tree, [leaf.tag for leaf in gold.leaves])


def _figures(
  outputs: Sequence[Output],
  gold_trees: Sequence[Tree],
  trees: Sequence[Tree],
  scores: Sequence[SentenceScore],
) -> dict[str, Any]:
  """Returns the result of `score`."""
  is_repaired = [output.is_repaired for output in outputs]
  unrepaired_scores = []
  has_failed = []
  for output, gold, tree, score in zip(outputs, gold_trees, trees, scores, strict=True):
    unrepaired_scores.append(score_sentence(gold, _NO_TREE) if output.is_repaired else score)
    has_failed.append(len(tree.constituents) < min(2, len(gold.constituents)))
  num_complete = sum(score.is_complete and score.status == VALID for score in scores)
  num_left_out = sum(score.status != VALID for score in unrepaired_scores)
  return dict(
    **_scores_of_all(scores, gold_trees),
    f1_malformed_match_nothing=_scores_of_all(unrepaired_scores, gold_trees)["f1"],
    complete_match=percent(num_complete, len(scores)),
    repair_rate=percent(sum(is_repaired), len(scores)),
    failed_sentences=_true_numbers(has_failed),
    repaired_sentences=_true_numbers(is_repaired),
    evalb=dict(f1=summarize(unrepaired_scores)["f1"], left_out=num_left_out),
  )


def _true_numbers(flags: Iterable[bool]) -> list[int]:
  """Returns the numbers, counted from 1, of the flags that are true."""
  return [number for number, is_true in enumerate(flags, 1) if is_true]


def _scores_of_all(scores: Sequence[SentenceScore], gold_trees: Sequence[Tree]) -> dict[str, float]:
  """Returns F1, precision and recall over all sentences."""
  matched, predicted, gold = _bracket_counts(scores, gold_trees).sum(axis=0).tolist()
  precision = percent(matched, predicted)
  recall = percent(matched, gold)
  return dict(f1=harmonic_mean(precision, recall), precision=precision, recall=recall)


def _by_length(
  scores: Sequence[SentenceScore], gold_trees: Sequence[Tree]
) -> dict[str, dict[str, Any]]:
  """Returns F1, precision and recall of the sentences of each range of lengths, and their number.

  Lengths are gold words without traces; a range is named as "11-20". Every sentence counts.
  """
  table = {}
  least = 0
  for most in (*_LENGTHS, math.inf):
    chosen = [
      (score, tree)
      for score, tree in zip(scores, gold_trees, strict=True)
      if least <= score.length <= most
    ]
    name = f"{least}-{most}" if most < math.inf else f"over {least - 1}"
    figures = _scores_of_all([score for score, _ in chosen], [tree for _, tree in chosen])
    table[name] = dict(sentences=len(chosen), **figures)
    least = most + 1
  return table


def _bracket_counts(scores: Sequence[SentenceScore], gold_trees: Sequence[Tree]) -> np.ndarray:
  """Returns (matched, predicted, gold) of each sentence, int64 [sentences, 3].

  A sentence that EVALB leaves out counts with its gold brackets, none of them matched.
  """
  rows = []
  for score, tree in zip(scores, gold_trees, strict=True):
    num_gold = score.gold
    if score.status != VALID:
      num_gold = score_sentence(tree, tree).gold
    rows.append((score.matched, score.predicted, num_gold))
  return np.array(rows, np.int64).reshape(-1, 3)


def _right_branching_f1(gold_trees: Iterable[Tree], parameters: Parameters) -> float:
  """Returns EVALB's F1 of right-branching trees over the same sentences."""
  scores = [score_sentence(gold, right_branching(gold), parameters) for gold in gold_trees]
  return summarize(scores)["f1"]
