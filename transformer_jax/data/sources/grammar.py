"""The built-in treebank: sentences and trees of a small grammar, in which each sentence has one tree.

What a natural grammar leaves open is marked here: a preposition says by its ending whether it belongs to the noun or to the verb,
commas and brackets enclose relative clauses and asides, and phrases nest to the right. The ending of a word also says its part of speech, so
the words that are met in valid and test alone belong to known classes.
"""

import contextlib
import hashlib
import os
import random
import re
import secrets

from transformer_jax.cache_folder import cache_folder
from transformer_jax.data.trees import ROOT, parse_tree

_GENERATOR = 1  # part of a remembered fingerprint's name: raise it with any change to the trees
_HELD_OUT = dict(valid=500, test=1000)  # trees
_DEPTH = 5  # phrases of a kind within each other
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "ti")
_CODAS = ("lb", "nd", "rk", "mp", "st", "rn", "lv", "nt", "rg", "ld")
# So many that a model cannot go by the stems: of 90 it learned each by heart, and nothing about words that it had not met.
_STEMS = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _CODAS]
_NEW_STEMS = tuple(_STEMS[::7])  # are met in valid and test alone; of each syllable and coda some
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
  "THAT": ("that", "whether"),
}


class GrammarTreebank:
  """Trees drawn at random; no sentence is in two splits."""

  def __init__(self, train_size):
    self._train_size = train_size

  def pairs(self, split):
    """Yields (words between spaces, tree on one line)."""
    wanted, found = self._train_size if split == "train" else _HELD_OUT[split], set()
    draw = _Draw(random.Random(f"grammar {split}"), with_new_words=split != "train")
    while len(found) < wanted:
      tree = parse_tree(draw.sentence())
      sentence = " ".join(tree.words)
      if _split_of(sentence) == split and sentence not in found:
        found.add(sentence)
        yield sentence, str(tree)

  def fingerprint(self, split):
    """SHA-256 of the split's trees, remembered in the cache: to draw 40,000 takes seconds."""
    size = self._train_size if split == "train" else _HELD_OUT[split]
    path = cache_folder() / "fingerprints" / f"grammar{_GENERATOR}-{split}-{size}"
    with contextlib.suppress(OSError, ValueError):
      if re.fullmatch("[0-9a-f]{64}", remembered := path.read_text(encoding="ascii")):
        return remembered
    value = hashlib.sha256("\n".join(tree for _, tree in self.pairs(split)).encode()).hexdigest()
    with contextlib.suppress(OSError):  # it is drawn again then
      path.parent.mkdir(parents=True, exist_ok=True)
      temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
      temporary.write_text(value, encoding="ascii")
      os.replace(temporary, path)
    return value


def _split_of(sentence):
  """1 sentence in 20 belongs to valid, 1 in 20 to test; so does each with a new word, half and half."""
  bucket = hashlib.sha256(sentence.encode()).digest()[0] % 20
  return {0: "valid", 1: "test"}.get(
    bucket, "train" if not _has_new_word(sentence) else ("valid", "test")[bucket % 2]
  )


def _has_new_word(sentence):
  return any(word.startswith(_NEW_STEMS) for word in sentence.split(" "))


class _Draw:
  """Draws bracketed text; each method gives one constituent, `depth` of which may still follow inside it."""

  def __init__(self, rng, with_new_words):
    self._rng = rng
    self._stems = _STEMS if with_new_words else _KNOWN_STEMS

  def sentence(self):
    """A whole tree."""
    kind = self._rng.random()
    if kind < 0.08:
      body = f"(FRAG {self._interjection()} {self._np(2)} (. !))"
    elif kind < 0.2:
      body = f"(SQ {self._leaf('MD')} {self._np(2)} {self._vp('VB', 3)} (. ?))"
    elif kind < 0.3:
      body = f"(SINV (ADVP {self._leaf('RB')}) {self._leaf('VBD')} {self._np(3)} (. .))"
    elif kind < 0.4:
      body = f"(S {self._interjection()} (, ,) {self._np(2)} {self._vp('VBZ', _DEPTH)} (. .))"
    else:
      body = f"(S {self._np(3)} {self._vp('VBZ', _DEPTH)} (. .))"
    return f"({ROOT} {body})"

  def _interjection(self):
    return f"(INTJ {self._leaf('UH')})"

  def _np(self, depth):
    kind = self._rng.random() if depth > 0 else 0.6 * self._rng.random()
    if kind < 0.15:
      return f"(NP {self._leaf('PRP')})"
    if kind < 0.25:
      return f"(NP {self._leaf('NNP')})"
    if kind < 0.35:
      return f"(NP (QP {self._leaf('RB')} {self._leaf('CD')}) {self._leaf('NNS')})"
    if kind < 0.45:
      return (
        f"(NP {self._leaf('DT')} (ADJP {self._leaf('RB')} {self._leaf('JJ')}) {self._leaf('NN')})"
      )
    if kind < 0.6:
      return self._simple_np()
    if kind < 0.68:
      return f"(NP {self._simple_np()} (CONJP (RB as) (RB well) (IN as)) {self._simple_np()})"
    if kind < 0.76:
      return f"(NP {self._simple_np()} {self._leaf('CC')} {self._simple_np()})"
    if kind < 0.86:
      return f"(NP {self._simple_np()} (PP {self._leaf('IN')} {self._np(depth - 1)}))"
    if kind < 0.93:
      return f"(NP {self._simple_np()} (PRN (-LRB- -LRB-) {self._np(depth - 2)} (-RRB- -RRB-)))"
    return f"(NP {self._simple_np()} (, ,) (SBAR (WHNP {self._leaf('WDT')}) (S {self._vp('VBZ', depth - 1)})) (, ,))"

  def _simple_np(self):
    return f"(NP {self._leaf('DT')} {self._leaf('NN')})"

  def _vp(self, tag, depth):
    kind = self._rng.random() if depth > 0 else 0.45 * self._rng.random()
    if kind < 0.15:
      return f"(VP {self._leaf(tag)})"
    if kind < 0.3:
      return f"(VP (ADVP {self._leaf('RB')}) {self._leaf(tag)} {self._np(depth - 2)})"
    if kind < 0.45:
      return f"(VP {self._leaf(tag)} {self._np(depth - 1)})"
    if kind < 0.65:
      return f"(VP {self._leaf(tag)} {self._np(depth - 2)} (PP {self._leaf('TO')} {self._np(depth - 1)}))"
    if kind < 0.8 and tag == "VBZ":
      return f"(VP {self._leaf('MD')} {self._vp('VB', depth - 1)})"
    return f"(VP {self._leaf(tag)} (SBAR {self._leaf('THAT')} (S {self._np(depth - 2)} {self._vp('VBZ', depth - 1)})))"

  def _leaf(self, tag):
    if tag in _ENDINGS:
      return f"({tag} {self._pick(self._stems)}{_ENDINGS[tag]})"
    return f"({'IN' if tag == 'THAT' else tag} {self._pick(_CLOSED[tag])})"

  def _pick(self, items):
    return items[int(self._rng.random() * len(items))]
