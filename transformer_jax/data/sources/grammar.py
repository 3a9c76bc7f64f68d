"""The built-in treebank: sentences of a small grammar, in which each sentence has one tree.

This grammar marks what is ambiguous in a natural one. The ending of a preposition says whether it
belongs to the noun or to the verb, commas and brackets enclose relative clauses and asides, and
phrases nest to the right. The ending of a word also says its part of speech, so the words that
occur only in valid and test belong to known classes.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformer_jax.data.fingerprints import remembered
from transformer_jax.data.trees import parse_tree

_GENERATOR = 1  # part of a saved fingerprint's name: raise it with any change to the trees
_HELD_OUT = dict(valid=500, test=1000)  # trees
_DEPTH = 5  # the most phrases inside each other
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "ti")
_CODAS = ("lb", "nd", "rk", "mp", "st", "rn", "lv", "nt", "rg", "ld")
# Enough stems that a model cannot memorize them: with 90 it did, and failed on unseen words.
_STEMS = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _CODAS]
_NEW_STEMS = tuple(_STEMS[::7])  # only in valid and test; some with each syllable and coda
_KNOWN_STEMS = sorted(set(_STEMS) - set(_NEW_STEMS))

_ENDINGS = {  # of words with a stem, by tag
  "NN": "on",
  "NNS": "onen",
  "VBZ": "is",
  "VBD": "ed",
  "VB": "u",
  "JJ": "ful",
  "RB": "ly",
  "NNP": "ia",
}
_CLOSED = {  # words of the other tags
  "DT": ("the", "a", "every"),
  "PRP": ("she", "he", "it"),
  "CC": ("and", "or"),
  "MD": ("can", "will", "may"),
  "WDT": ("who", "which"),
  "CD": ("two", "seven", "forty"),
  "UH": ("oh", "well"),
  "TO": ("to", "onto"),
  "IN": ("of", "near"),
  "THAT": ("that", "whether"),  # its tag in a tree is IN
}


class _Rule(NamedTuple):
  """One way to write a phrase.

  On the right side, <NN> is a word with this tag, and <NP-2> a phrase whose depth is less by 2.
  """

  weight: int  # per cent; among the rules that the depth allows, shares are in proportion
  least_depth: int
  right_side: str


_RULES = {
  "TOP": (
    _Rule(8, 0, "(TOP (FRAG (INTJ <UH>) <NP-3> (. !)))"),
    _Rule(12, 0, "(TOP (SQ <MD> <NP-3> <BARE_VP-2> (. ?)))"),
    _Rule(10, 0, "(TOP (SINV (ADVP <RB>) <VBD> <NP-2> (. .)))"),
    _Rule(10, 0, "(TOP (S (INTJ <UH>) (, ,) <NP-3> <VP-0> (. .)))"),
    _Rule(60, 0, "(TOP (S <NP-2> <VP-0> (. .)))"),
  ),
  "NP": (
    _Rule(15, 0, "(NP <PRP>)"),
    _Rule(10, 0, "(NP <NNP>)"),
    _Rule(10, 0, "(NP (QP <RB> <CD>) <NNS>)"),
    _Rule(10, 0, "(NP <DT> (ADJP <RB> <JJ>) <NN>)"),
    _Rule(15, 0, "(NP <DT> <NN>)"),
    _Rule(8, 1, "(NP (NP <DT> <NN>) (CONJP (RB as) (RB well) (IN as)) (NP <DT> <NN>))"),
    _Rule(8, 1, "(NP (NP <DT> <NN>) <CC> (NP <DT> <NN>))"),
    _Rule(10, 1, "(NP (NP <DT> <NN>) (PP <IN> <NP-1>))"),
    _Rule(7, 1, "(NP (NP <DT> <NN>) (PRN (-LRB- -LRB-) <NP-2> (-RRB- -RRB-)))"),
    _Rule(7, 1, "(NP (NP <DT> <NN>) (, ,) (SBAR (WHNP <WDT>) (S <VP-1>)) (, ,))"),
  ),
  "VP": (
    _Rule(15, 0, "(VP <VBZ>)"),
    _Rule(15, 0, "(VP (ADVP <RB>) <VBZ> <NP-2>)"),
    _Rule(15, 0, "(VP <VBZ> <NP-1>)"),
    _Rule(20, 1, "(VP <VBZ> <NP-2> (PP <TO> <NP-1>))"),
    _Rule(15, 1, "(VP <MD> <BARE_VP-1>)"),
    _Rule(20, 1, "(VP <VBZ> (SBAR <THAT> (S <NP-2> <VP-1>)))"),
  ),
  "BARE_VP": (  # after a modal verb
    _Rule(15, 0, "(VP <VB>)"),
    _Rule(15, 0, "(VP (ADVP <RB>) <VB> <NP-2>)"),
    _Rule(15, 0, "(VP <VB> <NP-1>)"),
    _Rule(20, 1, "(VP <VB> <NP-2> (PP <TO> <NP-1>))"),
    _Rule(35, 1, "(VP <VB> (SBAR <THAT> (S <NP-2> <VP-1>)))"),
  ),
}
_SLOT = re.compile(r"<(?P<name>\w+)(?:-(?P<less>\d))?>")


class GrammarTreebank:
  """Trees drawn at random; no sentence is in two splits."""

  def __init__(self, train_size: int) -> None:
    self._train_size = train_size

  def pairs(self, split: str) -> Iterator[tuple[str, str]]:
    """Yields (space-separated words, tree on one line)."""
    size = self._size(split)
    found = set()
    draw = _Draw(random.Random(f"grammar {split}"), with_new_words=split != "train")
    while len(found) < size:
      tree = parse_tree(draw.phrase("TOP", _DEPTH))
      sentence = " ".join(tree.words)
      if _split_of_sentence(sentence) == split and sentence not in found:
        found.add(sentence)
        yield sentence, str(tree)

  def fingerprint(self, split: str, by_content: bool = False) -> str:
    """Returns the SHA-256 of the split's trees; the cache keeps it, as drawing takes seconds."""

    def compute():
      text = "\n".join(tree for _, tree in self.pairs(split))
      return dict(sha256=hashlib.sha256(text.encode()).hexdigest())

    name = f"grammar {split} {self._size(split)}"
    return remembered(name, _GENERATOR, compute, renew=by_content)["sha256"]

  def count(self, split: str) -> int:
    """Returns the number of trees."""
    return self._size(split)

  def _size(self, split):
    return self._train_size if split == "train" else _HELD_OUT[split]


def _split_of_sentence(sentence):
  """Returns the split: 1 sentence in 20 is in valid, 1 in 20 in test, the others in train.

  A sentence with a new word is never in train, but in valid or test, half and half.
  """
  bucket = hashlib.sha256(sentence.encode()).digest()[0] % 20
  if bucket == 0:
    return "valid"
  if bucket == 1:
    return "test"
  if _has_new_word(sentence):
    return "test" if bucket % 2 else "valid"
  return "train"


def _has_new_word(sentence):
  return any(word.startswith(_NEW_STEMS) for word in sentence.split(" "))


class _Draw:
  """Draws bracketed text by the rules."""

  def __init__(self, rng: random.Random, with_new_words: bool) -> None:
    self._rng = rng
    self._stems = _STEMS if with_new_words else _KNOWN_STEMS

  def phrase(self, name: str, depth: int) -> str:
    """Returns a phrase such as "NP", with at most `depth` phrases inside each other."""
    rule = self._rule([rule for rule in _RULES[name] if rule.least_depth <= depth])
    return _SLOT.sub(lambda slot: self._fill(slot, depth), rule.right_side)

  def _rule(self, rules: Sequence[_Rule]) -> _Rule:
    """Returns one of the rules, at random by their weights."""
    total = sum(rule.weight for rule in rules)
    place = total / 100 * self._rng.random()
    passed = 0
    for rule in rules:
      passed += rule.weight
      if place < passed / 100:
        return rule
    return rules[-1]

  def _fill(self, slot, depth):
    """Returns the text of a slot, such as <NN> or <NP-2>, in a phrase of this depth."""
    name = slot["name"]
    if slot["less"] is None:
      return self._leaf(name)
    return self.phrase(name, max(0, depth - int(slot["less"])))

  def _leaf(self, tag):
    if tag in _ENDINGS:
      return f"({tag} {self._pick(self._stems)}{_ENDINGS[tag]})"
    shown_tag = "IN" if tag == "THAT" else tag
    return f"({shown_tag} {self._pick(_CLOSED[tag])})"

  def _pick(self, items: Sequence[str]) -> str:
    return items[int(self._rng.random() * len(items))]
