"""`evalb`: scores a file of trees against a file of trees, without a model."""

import sys
from typing import Any

from transformer_jax.data.text import read_lines, read_parallel
from transformer_jax.data.trees import Tree, TreeError, find_leaves, parse_tree
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath
from transformer_jax.metrics.labeled_f1 import (
  ERROR,
  PARAMETERS,
  Parameters,
  SentenceScore,
  by_label,
  percent,
  read_parameters,
  score_sentence,
  summarize,
)

_FIGURES = (
  ("Number of sentence", "sentences"),
  ("Number of Error sentence", "error_sentences"),
  ("Number of Skip  sentence", "skipped_sentences"),
  ("Number of Valid sentence", "valid_sentences"),
  ("Bracketing Recall", "recall"),
  ("Bracketing Precision", "precision"),
  ("Bracketing FMeasure", "f1"),
  ("Complete match", "complete_match"),
  ("Average crossing", "average_crossing"),
  ("No crossing", "no_crossing"),
  ("2 or less crossing", "two_or_less_crossing"),
  ("Tagging accuracy", "tagging_accuracy"),
)


def evalb(
  gold_path: StrPath, predicted_path: StrPath, parameters: str = "collins"
) -> dict[str, Any]:
  """Returns EVALB's figures of a file.

  As in EVALB, a line that is not a tree or has other words counts as an error. EVALB stops after
  too many errors; this function goes on, and prints their number.

  Args:
    gold_path, predicted_path: files with a tree on each line; an empty predicted line is skipped.
    parameters: "collins", "new", or a parameter file.

  Returns:
    dict: "all", "cutoff" (sentences up to "cutoff_length" words), "labels", "per_sentence".

  Raises:
    DataError: a file cannot be read, or they have different numbers of lines.
    ConfigError: EVALB could not read the parameter file.
  """
  rules = PARAMETERS.get(parameters) or _read_rules(parameters)
  gold, predicted = read_parallel(gold_path, predicted_path)
  scores = []
  for number, (gold_text, predicted_text) in enumerate(zip(gold, predicted, strict=True), 1):
    gold_tree, gold_problem = _read(gold_text)
    predicted_tree, predicted_problem = _read(predicted_text)
    for path, problem in ((gold_path, gold_problem), (predicted_path, predicted_problem)):
      if problem:
        print(f"transformer-jax: {path}:{number}: {problem}", file=sys.stderr)
    are_trees = not (gold_problem or predicted_problem)
    scores.append(score_sentence(gold_tree, predicted_tree, rules, are_trees))
  errors = sum(score.status == ERROR for score in scores)
  if errors > rules.max_error:
    print(
      f"transformer-jax: {errors} sentences with errors; EVALB stops after {rules.max_error}",
      file=sys.stderr,
    )
  return dict(
    all=summarize(scores),
    cutoff_length=rules.cutoff_length,
    cutoff=summarize(scores, rules.cutoff_length),
    labels=by_label(scores),
    per_sentence=scores,
  )


def page(result: dict[str, Any], per_sentence: bool = False) -> list[str]:
  """Returns the lines of a report in EVALB's layout, and a table of labels."""
  lines = []
  if per_sentence:
    lines += [
      "  Sent.                        Matched  Bracket   Cross        Correct Tag",
      " ID  Len.  Stat. Recal  Prec.  Bracket gold test Bracket Words  Tags Accracy",
      "=" * 76,
    ]
    lines += [
      _sentence_line(number, score) for number, score in enumerate(result["per_sentence"], 1)
    ]
    lines += ["=" * 76]
  for title, summary in (
    ("-- All --", result["all"]),
    (f"-- len<={result['cutoff_length']} --", result["cutoff"]),
  ):
    lines += ["", title]
    lines += [_summary_line(name, summary[key]) for name, key in _FIGURES]
  lines += [
    "",
    f"{'label':12} {'gold':>7} {'predicted':>9} {'matched':>7} {'recall':>7} "
    f"{'precision':>9} {'F1':>7}",
  ]
  lines += [_label_line(label, row) for label, row in result["labels"].items()]
  return lines


def _summary_line(name: str, value: int | float) -> str:
  if isinstance(value, int):
    return f"{name:26}= {value:6d}"
  return f"{name:26}= {value:6.2f}"


def _label_line(label: str, row: dict[str, Any]) -> str:
  return (
    f"{label:12} {row['gold']:7d} {row['predicted']:9d} {row['matched']:7d} "
    f"{row['recall']:7.2f} {row['precision']:9.2f} {row['f1']:7.2f}"
  )


def _sentence_line(number: int, score: SentenceScore) -> str:
  recall = percent(score.matched, score.gold)
  precision = percent(score.matched, score.predicted)
  accuracy = percent(score.correct_tags, score.words)
  return (
    f"{number:4d}  {score.length:3d}    {score.status}  {recall:6.2f} {precision:6.2f}"
    f"   {score.matched:3d}    {score.gold:3d}  {score.predicted:3d}    {score.crossing:3d}"
    f"   {score.words:4d}  {score.correct_tags:4d}   {accuracy:6.2f}"
  )


def _read(text: str) -> tuple[Tree, str]:
  """Returns (Tree, problem of the text); if the brackets are wrong, the Tree has only leaves."""
  try:
    return parse_tree(text), ""
  except TreeError as error:
    return Tree(find_leaves(text), ()), str(error)


def _read_rules(path: str) -> Parameters:
  try:
    return read_parameters(read_lines(path))
  except ValueError as error:
    raise ConfigError(
      "--parameters",
      f"{path}:{error}",
      f"use {', '.join(PARAMETERS)} or a parameter file of EVALB's",
    ) from None
