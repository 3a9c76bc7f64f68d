"""Bracketed text: it survives reading and writing, errors name the line, and cleaning."""

import itertools

import pytest

from transformer_jax.data.sources.treebank import read_tree_file
from transformer_jax.data.trees import (
  Constituent,
  Leaf,
  Tree,
  TreeError,
  clean,
  parse_tree,
  read_trees,
  to_text,
)

JOHN = "(TOP (S (NP (NNP John)) (VP (VBZ has) (NP (DT a) (NN dog))) (. .)))"


def cleaned(text):
  return str(clean(parse_tree(text)))


def test_a_tree_is_its_leaves_and_its_spans():
  tree = parse_tree("(S (NP (NNP John)) (VP (VBZ runs)))")
  assert tree == Tree(
    (Leaf("NNP", "John"), Leaf("VBZ", "runs")),
    (Constituent("S", 0, 2), Constituent("NP", 0, 1), Constituent("VP", 1, 2)),
  )
  assert tree.words == ("John", "runs")


@pytest.mark.parametrize(
  "text",
  [
    JOHN,
    "(A (B (C (X x))))",
    "(A (B (X x)) (B (X x)))",
    "( (S (X x)))",
    "(A)",
    "(A (B) (X x) (C (X y)))",
    "(X x)",
    "(A (A (A (X x)) (X y)) (X z))",
  ],
)
def test_text_to_tree_to_text(text):
  tree = parse_tree(text)
  assert str(tree) == text and parse_tree(to_text(tree, pretty=True)) == tree


def test_pretty_trees_are_indented_by_depth():
  assert to_text(parse_tree(JOHN), pretty=True).split("\n") == [
    "(TOP",
    "  (S",
    "    (NP (NNP John))",
    "    (VP (VBZ has)",
    "      (NP (DT a) (NN dog))) (. .)))",
  ]


def test_trees_over_lines_and_lines_of_trees():
  lines = ["", "( (S", "  (X a) )", ")", "  ", "(A (X b)) (B (X c)) (C", "(X d))"]
  assert [(line, str(tree)) for line, tree in read_trees(lines)] == [
    (2, "( (S (X a)))"),
    (6, "(A (X b))"),
    (6, "(B (X c))"),
    (6, "(C (X d))"),
  ]
  assert [line for line, _ in read_trees(["(A (X b))", "(B", "(X c)) (D", " (X e))"])] == [1, 2, 3]


def test_words_without_tags_are_leaves():
  """T2T's reader breaks on them."""
  assert parse_tree("(A b c)").leaves == (Leaf("XX", "b"), Leaf("XX", "c"))
  assert str(parse_tree("(NP the (NN dog) runs)")) == "(NP (XX the) (NN dog) (XX runs))"


@pytest.mark.parametrize(
  "lines, line, words",
  [
    (["( (S (NP (NNP New York)) (VP (VBZ sleeps))))"], 1, "(NNP New York)"),
    (["(A (X a))", "(A", " (X a)", " (NNP New", "York City))"], 4, "(NNP New York City)"),
    (["(A b c)"], 1, "(A b c)"),
  ],
)
def test_several_words_in_one_bracket_are_refused(lines, line, words):
  with pytest.raises(TreeError, match="several words") as caught:
    list(read_trees(lines))
  assert caught.value.line == line and words in str(caught.value)


def test_a_word_beside_brackets_is_a_leaf_of_a_treebank():
  ((_, tree),) = read_trees(["(NP the (NN dog) (-LRB- -LRB-) runs)"])
  assert str(tree) == "(NP (XX the) (NN dog) (-LRB- -LRB-) (XX runs))"


def test_white_space_that_is_not_ascii_is_text():
  assert parse_tree("(X a\N{NO-BREAK SPACE}b)").words == ("a\N{NO-BREAK SPACE}b",)


@pytest.mark.parametrize(
  "lines, line",
  [
    (["(A (X a))", "(B (X b)"], 2),
    (["(B", "(X c)) (D", "(E"], 2),
    (["(S (X x)", " (Y y)))"], 2),
    (["(A (X a))", "(B (c) (X d))"], 2),
    (["(A (X a)))"], 1),
    (["(A (X a))", "", "word"], 3),
    ([")"], 1),
    (["(A (X a))", ") ("], 2),
    (["(A (X a)) word"], 1),
  ],
)
def test_a_line_that_is_not_a_tree_is_named(lines, line):
  with pytest.raises(TreeError) as caught:
    list(read_trees(lines))
  assert caught.value.line == line


def test_depth_has_no_limit():
  text = "(A " * 10_000 + "(X x)" + ")" * 10_000
  ((_, tree),) = read_trees(["(A " * 10_000, "(X x)", ")" * 10_000])
  assert len(tree.constituents) == 10_000 and str(tree) == text.replace("  ", " ")
  assert len(clean(tree).constituents) == 10_001


@pytest.mark.parametrize(
  "raw, clean_text",
  [
    ("( (S (NP-SBJ-1 (NNP John)) (VP (VBZ runs))))", "(TOP (S (NP (NNP John)) (VP (VBZ runs))))"),
    ("(S1 (S (NP=2 (NN x))))", "(TOP (S (NP (NN x))))"),
    ("(S (NP (-NONE- *T*-1)) (VP (VB go)))", "(TOP (S (VP (VB go))))"),
    (
      "(TOP (PRN (-LRB- -LRB-) (NP (NN x)) (-RRB- -RRB-)))",
      "(TOP (PRN (-LRB- -LRB-) (NP (NN x)) (-RRB- -RRB-)))",
    ),
    ("(S (PRT|ADVP (RP up)) (VB go))", "(TOP (S (PRT (RP up)) (VB go)))"),
    ("(TOP (TOP (X x)))", "(TOP (X x))"),
    ("(TOP (A (X x)) (B (X y)))", "(TOP (A (X x)) (B (X y)))"),
    ("(S (A (B (-NONE- 0)) (C (X x))))", "(TOP (S (A (C (X x)))))"),
  ],
)
def test_cleaning(raw, clean_text):
  assert cleaned(raw) == clean_text and cleaned(clean_text) == clean_text


def test_a_tree_of_traces_alone_is_dropped():
  assert clean(parse_tree("(S (NP (-NONE- *)))")) is None


def test_every_real_tree_comes_out_as_it_went_in(shared_data):
  files = [
    *sorted((shared_data / "wsj_sample").glob("*.mrg"))[:40],
    shared_data / "craft_treebank" / "dev.trees.gz",
    *sorted((shared_data / "genia_treebank").glob("*.gz")),
  ]
  count = 0
  for tree in itertools.chain.from_iterable(map(read_tree_file, files)):
    count += 1
    assert parse_tree(str(tree)) == tree
    cleaned_tree = clean(tree)
    if cleaned_tree is not None:
      assert parse_tree(to_text(cleaned_tree, pretty=True)) == cleaned_tree
  assert count > 3000
