"""Trees as symbols: both styles lose nothing, and any output becomes a tree over its words."""

import random

import pytest

from transformer_jax.data.linearization import (
  CLOSE,
  LEAF,
  OPEN,
  linearize,
  symbol_kinds,
  symbol_places,
  to_tree,
)
from transformer_jax.data.sources.treebank import read_tree_file
from transformer_jax.data.trees import clean, parse_tree, with_tags

STYLES = ("vinyals", "t2t")
JOHN = parse_tree("(TOP (S (NP (NNP John)) (VP (VBZ has) (NP (DT a) (NN dog))) (. .)))")
DEEP = parse_tree("(TOP " + "(A " * 10_000 + "(X x)" + ")" * 10_001)


def test_the_published_examples():
  """Vinyals et al. 2015, Section 2; the authors' code, run on the same sentence."""
  assert " ".join(linearize(JOHN, "vinyals")) == "(S (NP XX )NP (VP XX (NP XX XX )NP )VP XX )S"
  assert " ".join(linearize(JOHN, "t2t")) == "S NP NNP /NP VP VBZ NP DT NN /NP /VP . /S"


def round_trip(tree, style):
  """Returns the tree again, with the gold tags, as `vinyals` does not keep them."""
  again, is_repaired = to_tree(linearize(tree, style), tree.words, style)
  assert not is_repaired
  return again if style == "t2t" else with_tags(again, [leaf.tag for leaf in tree.leaves])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
  "text",
  [
    "(TOP (X x))",
    "(TOP (A (X x)) (B (X y)))",
    "(TOP (NP (NP (NP x))))",
    "(TOP (NP (NP a) (NP (NP b) (NP c))))",
    "(TOP (A (/A x) (= y) (=B z)))",
    "(TOP (A (A x)) (B (A x) (B y)))",
    "(TOP (T (NP (T word))))",
    "(TOP (T (NP (DT a) (T word)) (NN b)))",
    "(TOP (A (A (A x)) (A y)))",
    "(TOP (/X (NN a)) (NP (NN b)))",
    "(TOP (/ (NN a) (/X (/Y (/X b)))))",
    "(TOP (=X (X (X a) (=X b))))",
    "(TOP (\\/X (/X (\\/X a) (\\ b) (= c))))",
    "(TOP (A (/A (A a) (/A b)) (/A c)))",
    "(TOP (\\ (\\\\ (\\ a) (\\\\ b))))",
  ],
)
def test_awkward_trees_survive(text, style):
  """Tags that are labels too, tags that look like brackets, several roots."""
  tree = clean(parse_tree(text))
  assert round_trip(tree, style) == tree


def test_random_labels_and_tags_survive():
  """Labels and tags of the characters that the style itself uses."""
  rng = random.Random(4)
  names = [
    "A",
    "/A",
    "=A",
    "\\A",
    "/=A",
    "=/A",
    "\\/A",
    "\\=A",
    "/",
    "=",
    "\\",
    "//A",
    "==A",
    "\\\\A",
  ]

  def some(depth):
    children = []
    for _ in range(rng.randrange(1, 4)):
      is_inner = depth and rng.random() < 0.6
      children.append(some(depth - 1) if is_inner else f"({rng.choice(names)} w)")
    return f"({rng.choice(names)} {' '.join(children)})"

  for _ in range(500):
    tree = parse_tree(f"(TOP {some(3)} {some(1)})")
    assert round_trip(tree, "t2t") == tree


@pytest.mark.parametrize("style", STYLES)
def test_ten_thousand_levels(style):
  assert round_trip(DEEP, style) == DEEP


@pytest.mark.parametrize("style", STYLES)
def test_real_trees_survive(shared_data, style):
  files = [
    *sorted((shared_data / "wsj_sample").glob("*.mrg"))[:20],
    shared_data / "craft_treebank" / "dev.trees.gz",
  ]
  for path in files:
    for tree in map(clean, read_tree_file(path)):
      assert round_trip(tree, style) == tree


DROPPED = 0  # trees without a word, of the sets below


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_every_real_tree_survives(shared_data, style):
  folders = ("wsj_sample", "craft_treebank", "genia_treebank")
  files = [
    path
    for folder in folders
    for path in sorted((shared_data / folder).iterdir())
    if path.name.endswith((".mrg", ".gz"))
  ]
  trees = [tree for path in files for tree in map(clean, read_tree_file(path)) if tree is not None]
  assert len(trees) == 3396 + 18951 + 2780 + 1361 + 1494 - DROPPED
  for tree in trees:
    assert round_trip(tree, style) == tree


@pytest.mark.parametrize(
  "symbols, text",
  [
    # a closing is missing at the end
    ("(S (NP XX )NP (VP XX )VP", "(TOP (S (NP (XX a)) (VP (XX b))))"),
    ("(S (NP XX (VP XX )VP )S", "(TOP (S (NP (XX a) (VP (XX b)))))"),  # one closing closes two
    ("(S (NP XX )NP )ADJP (VP XX )VP )S", "(TOP (S (NP (XX a)) (VP (XX b))))"),  # nothing to close
    ("(S (NP XX )NP (VP XX XX XX )VP )S", "(TOP (S (NP (XX a)) (VP (XX b))))"),  # too many words
    ("(S (NP XX )NP )S", "(TOP (S (NP (XX a)) (XX b)))"),  # too few
    ("(NP XX )NP (VP XX", "(TOP (S (NP (XX a)) (VP (XX b))))"),  # several roots
    ("(S (NP )NP XX XX )S", "(TOP (S (XX a) (XX b)))"),  # an empty constituent
    ("(S <unk> XX XX )S", "(TOP (S (XX a) (XX b)))"),
    ("", "(TOP (XX a) (XX b))"),
    (")S )S", "(TOP (XX a) (XX b))"),
    ("(S (S (S (S", "(TOP (S (XX a) (XX b)))"),
  ],
)
def test_repair(symbols, text):
  tree, is_repaired = to_tree(symbols.split(), ["a", "b"], "vinyals")
  assert is_repaired and str(tree) == text


@pytest.mark.parametrize(
  "symbols, text",
  [
    ("S NP NN /NP VP VBZ", "(TOP (S (NP (NN dogs)) (VP (VBZ bark))))"),
    ("S NP NN VBZ /NP", "(TOP (S (NP (NN dogs) (VBZ bark))))"),
  ],
)
def test_repair_of_t2t_knows_what_opens(symbols, text):
  """An output that was cut at its limit lacks closings; its labels do not become tags."""
  tree, is_repaired = to_tree(symbols.split(), ["dogs", "bark"], "t2t", {"S", "NP", "VP"})
  assert is_repaired and str(tree) == text


def test_well_formed_sequences_are_not_repaired():
  tree, is_repaired = to_tree("(NP XX )NP (VP XX )VP".split(), ["a", "b"], "vinyals")
  assert not is_repaired and str(tree) == "(TOP (NP (XX a)) (VP (XX b)))"


def fuzz(trees, count, seed):
  """Random and mutated sequences give trees over the right words whose spans nest."""
  rng = random.Random(seed)
  closing = dict(vinyals=")NP", t2t="/NP")
  pools = {}
  for style in STYLES:
    symbols = {symbol for tree in trees for symbol in linearize(tree, style)}
    pools[style] = [*sorted(symbols), "<unk>", "/", "=", closing[style]]
  repaired = 0
  for _ in range(count):
    tree = rng.choice(trees)
    style = rng.choice(STYLES)
    pool = pools[style]
    symbols = linearize(tree, style)
    if rng.random() < 0.3:
      symbols = [rng.choice(pool) for _ in range(rng.randrange(80))]
    for _ in range(rng.randrange(6)):
      place = rng.randrange(len(symbols) + 1)
      symbols[place : place + rng.randrange(3)] = [rng.choice(pool)] * rng.randrange(3)
    found, is_repaired = to_tree(symbols, tree.words, style)
    repaired += is_repaired
    assert found.words == tree.words and parse_tree(str(found)) == found
    if is_repaired and len(found.constituents) > 1:
      assert found.constituents[1][1:] == (0, len(tree.words))
  assert 0.5 * count < repaired < count


CLAUSE = "(SBAR (IN that) (S (NP (PRP he)) (VP (VBZ runs))))"
FEW = [
  JOHN,
  clean(parse_tree(f"(S (NP (DT the) (NN dog)) (VP (VBZ says) {CLAUSE}) (. .))")),
  clean(parse_tree("(NP (NP (NN x)) (PP (IN of) (NP (NN y))))")),
]


def test_ten_thousand_sequences_are_repaired():
  fuzz(FEW, 10_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_sequences_are_repaired(shared_data):
  trees = map(clean, read_tree_file(shared_data / "craft_treebank" / "dev.trees.gz"))
  fuzz(list(trees), 100_000, seed=2)


def test_the_kind_of_each_symbol():
  assert symbol_kinds(["(S", ")S", "XX", "<unk>", "("], "vinyals") == [
    ("open", "S"),
    ("close", "S"),
    ("leaf", "XX"),
    None,
    None,
  ]
  assert symbol_kinds(["S", "/S", "NN", "/"], "t2t") == [
    ("open", "S"),
    ("close", "S"),
    ("leaf", "NN"),
    ("leaf", "/"),
  ]


@pytest.mark.parametrize("style", STYLES)
def test_each_symbol_has_its_place(style):
  """S is the first constituent under the root; its symbols are the first and the last one."""
  tree, places = symbol_places(linearize(JOHN, style), JOHN.words, style)
  assert tree.constituents == JOHN.constituents
  assert places[0] == (OPEN, 1) and places[-1] == (CLOSE, 1)
  assert [number for kind, number in places if kind == LEAF] == [0, 1, 2, 3, 4]
  spans = [tree.constituents[number][1:] for kind, number in places if kind == OPEN]
  assert spans == [(0, 5), (0, 1), (1, 4), (2, 4)]


def test_places_in_a_tree_that_was_repaired():
  """A wrapper is put around; a closing bracket, an empty constituent and a leaf are dropped."""
  symbols = [")A", "(B", "XX", "(C", ")C", ")B", "(D", "XX", "XX", "XX"]
  tree, places = symbol_places(symbols, ["x", "y", "z"], "vinyals")
  assert tree == to_tree(symbols, ["x", "y", "z"], "vinyals")[0]
  labels = [
    tree.constituents[place[1]].label if place and place[0] != LEAF else place for place in places
  ]
  assert labels == [None, "B", (LEAF, 0), None, None, "B", "D", (LEAF, 1), (LEAF, 2), None]
