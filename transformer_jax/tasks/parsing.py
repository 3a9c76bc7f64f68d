"""Constituency parsing (Section 6.3): words to brackets and back, and labelled F1."""

import dataclasses
import functools
import re

import numpy as np

from transformer_jax.config import EOS_ID, DataConfig
from transformer_jax.data.linearization import linearize, symbol_kinds, to_tree
from transformer_jax.data.trees import ROOT, Constituent, Tree, TreeError, parse_tree, with_tags
from transformer_jax.errors import DataError
from transformer_jax.metrics.labeled_f1 import (
  PARAMETERS,
  VALID,
  by_label,
  f1_of,
  percent,
  score_sentence,
  summarize,
)
from transformer_jax.tasks.task import Output

_SPACES = re.compile("[ \t\r\n\f\v]+")  # what separates words in a tree; other white space is text
_BRACKETS = {"(": "-LRB-", ")": "-RRB-"}  # how treebanks write a bracket that is a word, or in one
NO_TREE = Tree((), ())
_NOT_ONE = "is not a tree in brackets, (TOP ...)"


@dataclasses.dataclass(frozen=True)
class ParsingTask:
  """Sentences, words between spaces, to trees on one line."""

  config: DataConfig
  tokenizer: object  # ParsingTokenizer
  main_score = "f1"
  logged_scores = ("f1", "complete_match", "repair_rate")

  @property
  def source_vocab_size(self):
    """Entries of the words' vocabulary."""
    return self.tokenizer.words.vocab_size

  @property
  def target_vocab_size(self):
    """Entries of the symbols' vocabulary."""
    return self.tokenizer.symbols.vocab_size

  def headline(self, result):
    """The figures of an evaluation in a line."""
    return (
      f"{result['sentences']:,} sentences, labelled F1 {result['f1']:.2f} ({result['f1_malformed_match_nothing']:.2f} if malformed output "
      f"matches nothing), EVALB {result['evalb']['f1']:.2f} with {result['evalb']['left_out']} left out, complete match "
      f"{result['complete_match']:.2f}%, repaired {result['repair_rate']:.2f}%"
    )

  def count_words(self, text):
    """Words that the tree stands on."""
    return len(split_words(text))

  def problem_of(self, source, target):
    """Why a sentence and a tree are no pair to score, or an empty string."""
    tree, problem = _whole_tree(target)
    if problem:
      return problem
    return (
      "" if list(tree.words) == split_words(source) else "stands on other words than its sentence"
    )

  def encode_source(self, text, is_preprocessed=False):
    """Tokens of a sentence, EOS at the end."""
    return [*self.tokenizer.encode_words(split_words(text)), EOS_ID]

  def encode_target(self, text, is_preprocessed=False):
    """Tokens of a clean tree, EOS at the end.

    Raises:
      DataError: the text is no tree.
    """
    tree, problem = _whole_tree(text)
    if problem:
      raise DataError(f"'{text[:60]}'", _NOT_ONE)
    return [
      *self.tokenizer.symbols.encode(" ".join(linearize(tree, self.config.linearization))),
      EOS_ID,
    ]

  def decode_target(self, tokens, source, detokenize=False):
    """The tree over the words of `source`, repaired if need be: an Output; without words an empty one."""
    words = split_words(source)
    if not words:
      return Output("")
    tree, is_repaired = to_tree(
      self.target_pieces(tokens), words, self.config.linearization, self._labels
    )
    return Output(str(tree), is_repaired)

  def source_pieces(self, tokens):
    """The sub-words of source tokens, for showing."""
    return self.tokenizer.words.pieces(tokens)

  def target_pieces(self, tokens):
    """The symbols of target tokens."""
    return self.tokenizer.symbols.pieces(tokens)

  @functools.cached_property
  def _labels(self):
    """What the symbols of this vocabulary close."""
    return {item[1] for item in self.brackets() if item and item[0] == "close"}

  def brackets(self):
    """What each target token does: [(kind, label) or None], as `linearization.symbol_kinds` has it. PAD, EOS and UNK do nothing."""
    symbols = self.target_pieces(range(self.target_vocab_size))
    return [None] * 3 + symbol_kinds(symbols, self.config.linearization)[3:]

  def score(self, outputs, references, references_are_preprocessed=False):
    """Labelled F1 by EVALB's rules (COLLINS.prm) with the gold tags put back, a dict; every sentence counts.

    An empty or a wrong tree matches nothing, where EVALB would leave it out: its figure stands beside, with malformed outputs
    unrepaired ("evalb").
    """
    return _figures(outputs, *_compare(outputs, references))

  def statistics(
    self, outputs: list, references: list, references_are_preprocessed: bool = False
  ) -> np.ndarray:
    """What F1 is made of, int [sentences, 3]: brackets matched, predicted and wanted.

    Sums give `score`'s "f1" (`f1_of_statistics`).
    """
    gold, _, scores = _compare(outputs, references)
    return np.array(_brackets(scores, gold), np.int64).reshape(-1, 3)

  def report(self, outputs, references, references_are_preprocessed=False):
    """`score`, and more for a test set: EVALB's whole summary, that of up to 40 words, a table of labels, and what no model is needed for:
    the F1 of right-branching trees, with every constituent an S and without labels."""
    gold, trees, scores = _compare(outputs, references)
    rules = PARAMETERS["collins"]
    baseline = {
      name: summarize([score_sentence(tree, right_branching(tree), one) for tree in gold])["f1"]
      for name, one in (
        ("labelled", rules),
        ("unlabelled", dataclasses.replace(rules, is_labelled=False)),
      )
    }
    return dict(
      **_figures(outputs, gold, trees, scores),
      summary=summarize(scores),
      **{f"summary_up_to_{rules.cutoff_length}_words": summarize(scores, rules.cutoff_length)},
      labels=by_label(scores),
      right_branching_f1=baseline,
    )


def _compare(outputs, references):
  """(gold trees, the outputs' trees with the gold tags, SentenceScores)."""
  gold = [parse_tree(text) for text in references]
  trees = [_with_gold_tags(output.text, tree) for output, tree in zip(outputs, gold, strict=True)]
  return gold, trees, [score_sentence(g, t) for g, t in zip(gold, trees, strict=True)]


def _figures(outputs, gold, trees, scores):
  """What `score` gives."""
  is_repaired = [output.is_repaired for output in outputs]
  unrepaired = [
    score_sentence(g, NO_TREE) if bad else score
    for g, score, bad in zip(gold, scores, is_repaired, strict=True)
  ]
  has_failed = [
    len(tree.constituents) < min(2, len(g.constituents))
    for tree, g in zip(trees, gold, strict=True)
  ]
  return dict(
    **_all_count(scores, gold),
    f1_malformed_match_nothing=_all_count(unrepaired, gold)["f1"],
    complete_match=percent(sum(s.is_complete and s.status == VALID for s in scores), len(scores)),
    repair_rate=percent(sum(is_repaired), len(scores)),
    failed_sentences=_numbers(has_failed),
    repaired_sentences=_numbers(is_repaired),
    evalb=dict(f1=summarize(unrepaired)["f1"], left_out=sum(s.status != VALID for s in unrepaired)),
  )


def _numbers(are):
  """The places, counted from 1, that hold something true."""
  return [number for number, is_one in enumerate(are, 1) if is_one]


def right_branching(tree):
  """The tree over the same leaves in which each constituent is a word and the rest."""
  length = len(tree.leaves)
  return Tree(
    tree.leaves,
    (
      Constituent(ROOT, 0, length),
      *(Constituent("S", start, length) for start in range(max(1, length - 1))),
    ),
  )


def split_words(text):
  """The words between spaces, brackets as treebanks write them."""
  for bracket, name in _BRACKETS.items():
    text = text.replace(bracket, name)
  return [word for word in _SPACES.split(text) if word]


def _whole_tree(text):
  """(the clean tree of a text, why it is none)."""
  try:
    tree = parse_tree(text)
  except TreeError as error:
    return NO_TREE, str(error)
  return tree, "" if tree.constituents[:1] == ((ROOT, 0, len(tree.leaves)),) else _NOT_ONE


def _with_gold_tags(text, gold):
  """The tree of a text with the tags of the gold one, which EVALB's deletions go by; no tree, if it stands on other words."""
  tree = parse_tree(text)
  return (
    with_tags(tree, [leaf.tag for leaf in gold.leaves]) if tree.words == gold.words else NO_TREE
  )


def _all_count(scores, gold):
  """F1, precision and recall over all sentences."""
  matched, predicted, wanted = map(sum, zip((0, 0, 0), *_brackets(scores, gold), strict=True))
  precision, recall = percent(matched, predicted), percent(matched, wanted)
  return dict(f1=f1_of(precision, recall), precision=precision, recall=recall)


def _brackets(scores, gold):
  """(matched, predicted, wanted) of each sentence.

  One that EVALB leaves out has its gold brackets and none that match.
  """
  wanted = [
    score.gold if score.status == VALID else score_sentence(tree, tree).gold
    for score, tree in zip(scores, gold, strict=True)
  ]
  return [
    (score.matched, score.predicted, of_gold) for score, of_gold in zip(scores, wanted, strict=True)
  ]
