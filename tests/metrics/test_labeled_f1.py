"""EVALB's published answers, to the digit, and the rules that they do not exercise."""

import re

import pytest

from transformer_jax.cli.main import run
from transformer_jax.data.text import read_lines
from transformer_jax.data.trees import Tree, parse_tree
from transformer_jax.metrics.labeled_f1 import (
  ERROR,
  PARAMETERS,
  SKIPPED,
  VALID,
  by_label,
  read_parameters,
  score_sentence,
  summarize,
)
from transformer_jax.runs.evalb import evalb

TREE = "(TOP (S (NP (NN a)) (VP (VB b)) (. .)))"


def scored(gold, predicted, parameters="collins"):
  return score_sentence(parse_tree(gold), parse_tree(predicted), PARAMETERS[parameters])


def known_lines(path):
  """Returns EVALB's numbers for each sentence.

  They are ID, length, status, matched, gold, test, crossing, words and tags.
  """
  rows = []
  for line in path.read_text().splitlines():
    if re.match(r" *\d+ +\d+ +\d ", line):
      cells = line.split()
      rows.append([int(cells[i]) for i in (0, 1, 2, 5, 6, 7, 8, 9, 10)])
  return rows


def as_row(number, score):
  return [
    number,
    score.length,
    score.status,
    score.matched,
    score.gold,
    score.predicted,
    score.crossing,
    score.words,
    score.correct_tags,
  ]


def numbered_rows(result):
  return [as_row(number, score) for number, score in enumerate(result["per_sentence"], 1)]


def test_the_sample(shared_data):
  """`sample.rsl` is from an older EVALB: sentences that it leaves out have 4 words there, not 0."""
  folder = shared_data / "evalb"
  result = evalb(folder / "sample.gld", folder / "sample.tst", folder / "sample.prm")
  known = known_lines(folder / "sample.rsl")
  for row in known:
    if row[2] != VALID:
      row[7] = 0
  assert numbered_rows(result) == known
  expected = dict(
    sentences=24,
    error_sentences=5,
    skipped_sentences=2,
    valid_sentences=17,
    recall=87.76,
    precision=90.53,
    f1=89.12,
    complete_match=52.94,
    average_crossing=0.06,
    no_crossing=94.12,
    two_or_less_crossing=100,
    tagging_accuracy=98.15,
    matched=86,
    gold=98,
    predicted=95,
    crossing=1,
    words=108,
    correct_tags=106,
  )
  assert {name: round(value, 2) for name, value in result["all"].items()} == expected
  cutoff = dict(
    sentences=23,
    recall=81.25,
    precision=85.25,
    f1=83.2,
    complete_match=50.0,
    tagging_accuracy=96.88,
  )
  assert {name: round(result["cutoff"][name], 2) for name in cutoff} == cutoff


@pytest.mark.parametrize("parameters", ["collins", "new", "COLLINS.prm", "new.prm"])
def test_damaged_wsj_trees(shared_data, parameters):
  folder = shared_data / "evalb"
  if parameters.endswith(".prm"):
    parameters = folder / parameters
  result = evalb(folder / "wsj_noisy.gld", folder / "wsj_noisy.tst", parameters)
  assert numbered_rows(result) == known_lines(folder / "wsj_noisy.rsl")
  for part, known in (
    ("all", [741, 0, 4, 737, 86.23, 88.56, 87.38, 47.63, 0.09, 92.81, 99.46, 96.44]),
    ("cutoff", [665, 0, 4, 661, 85.55, 87.94, 86.73, 46.29, 0.09, 93.04, 99.7, 96.23]),
  ):
    assert [round(value, 2) for value in list(result[part].values())[:12]] == known


def test_the_named_parameters_are_those_of_the_files(shared_data):
  for name, file in (("collins", "COLLINS.prm"), ("new", "new.prm")):
    assert read_parameters(read_lines(shared_data / "evalb" / file)) == PARAMETERS[name]


@pytest.mark.parametrize(
  "line, problem",
  [
    ("DELETE_LABELS X", "1: 'DELETE_LABELS'"),
    ("EQ_LABEL A", "1: EQ_LABEL has 1"),
    ("MAX_ERROR ten", "1: "),
  ],
)
def test_parameter_files_that_are_wrong(line, problem):
  with pytest.raises(ValueError, match=re.escape(problem)):
    read_parameters([line])


def test_duplicates_match_as_often_as_both_have_them():
  score = scored("(S (NP (NP (NN a))) (VP (VB b)))", "(S (NP (NP (NP (NN a)))) (VP (VB b)))")
  assert (score.matched, score.gold, score.predicted) == (4, 4, 5)


def test_punctuation_goes_by_the_tags_of_both_files():
  """A full stop that the prediction tags XX is not deleted there, so EVALB reports an error."""
  assert scored(TREE, TREE.replace("(. .)", "(XX .)")).status == ERROR
  assert scored(TREE, TREE).matched == 3


def test_quotation_marks_are_put_back_by_the_new_parameters():
  gold = "(S (`` ') (NP (NN a)) (VP (VB b)))"
  predicted = "(S (POS ') (NP (NN a)) (VP (VB b)))"
  assert scored(gold, predicted).status == ERROR
  score = scored(gold, predicted, "new")
  assert (score.status, score.matched, score.gold, score.words) == (VALID, 3, 3, 3)
  assert scored(predicted, gold, "new").matched == 3
  twice = scored("(S (: ') (POS ') (NN a) (: /))", "(S (POS ') (NN ') (NN a) ('' /))", "new")
  assert twice.status == ERROR  # EVALB restores a mark twice, and then the lengths differ
  gold = "(S (NP (`` ') (NN a)) (VP (VB b) ('' ')))"
  predicted = "(S (NP (POS ') (NN a)) (VP (VB b) (NN ')))"
  doubled = scored(gold, predicted, "new")
  assert (doubled.status, doubled.matched, doubled.words) == (VALID, 3, 4)


def test_labels_that_are_equal_and_labels_with_functions():
  assert scored("(S (ADVP (RB a)) (NP-SBJ=1 (NN b)))", "(S (PRT (RB a)) (NP (NN b)))").matched == 3


def test_empty_answers_and_other_words():
  assert score_sentence(parse_tree(TREE), Tree((), ())).status == SKIPPED
  assert scored(TREE, TREE.replace(" a)", " c)")).status == ERROR
  assert scored(TREE, "(S (NN a))").status == ERROR


def test_crossing_counts_predicted_brackets():
  score = scored("(S (A (X a) (X b)) (B (X c) (X d)))", "(S (X a) (A (X b) (X c)) (X d))")
  assert (score.crossing, score.matched) == (1, 1)


def test_by_label():
  rows = by_label([scored("(S (NP (NN a)) (NP (NN b)))", "(S (NP (NN a)) (VP (NN b)))")])
  assert list(rows) == ["NP", "S", "VP"]
  assert rows["NP"] == dict(
    gold=2, predicted=1, matched=1, recall=50.0, precision=100.0, f1=200 / 3
  )


def test_nothing_to_score():
  assert summarize([])["f1"] == 0.0


def test_the_command(tmp_path, capsys):
  gold = tmp_path / "gold"
  gold.write_text(f"{TREE}\n{TREE}\n")
  predicted = tmp_path / "predicted"
  predicted.write_text(f"{TREE}\n{TREE[:-1]}\n")
  command = ["evalb", f"--gold={gold}", f"--predicted={predicted}"]
  assert run([*command, "--per_sentence"]) == 0
  out, err = capsys.readouterr()
  assert "Bracketing FMeasure       = 100.00" in out
  assert '"error_sentences": 1' in out
  assert '"skipped_sentences": 0' in out
  assert "predicted:2: a bracket that opens here is never closed" in err
  assert run([*command, "--parameters=nothing"]) == 3
  rules = tmp_path / "rules"
  rules.write_text("WRONG 1\n")
  assert run([*command, f"--parameters={rules}"]) == 2
