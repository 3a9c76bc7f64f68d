"""`evalb`: scores a file of trees against a file of trees, without a model."""

import sys

from transformer_jax.data.text import read_lines, read_parallel
from transformer_jax.data.trees import Tree, TreeError, find_leaves, parse_tree
from transformer_jax.errors import ConfigError
from transformer_jax.metrics.labeled_f1 import (
  ERROR,
  PARAMETERS,
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


def evalb(gold_path, predicted_path, parameters="collins"):
  """EVALB's figures of a file.

  What is no tree, or stands on other words, is an error, as in EVALB; it goes on where EVALB stops after too many, and says so.

  Args:
    gold_path, predicted_path: files with a tree on each line; an empty predicted line is skipped.
    parameters: "collins", "new", or a parameter file.

  Returns:
    dict: "all", "cutoff" (sentences up to "cutoff_length" words), "labels", "per_sentence".

  Raises:
    DataError: a file cannot be read, or they have different numbers of lines.
    ConfigError: a parameter file that EVALB would not read.
  """
  rules = PARAMETERS.get(parameters) or _read_rules(parameters)
  gold, predicted = read_parallel(gold_path, predicted_path)
  scores = []
  for number, (gold_text, predicted_text) in enumerate(zip(gold, predicted, strict=True), 1):
    (gold_tree, problem), (predicted_tree, other_problem) = _read(gold_text), _read(predicted_text)
    for path, text in ((gold_path, problem), (predicted_path, other_problem)):
      if text:
        print(f"transformer-jax: {path}:{number}: {text}", file=sys.stderr)
    scores.append(score_sentence(gold_tree, predicted_tree, rules, not (problem or other_problem)))
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


def page(result, per_sentence=False):
  """Lines in EVALB's own layout, and a table of labels."""
  lines = []
  if per_sentence:
    lines += [
      "  Sent.                        Matched  Bracket   Cross        Correct Tag",
      " ID  Len.  Stat. Recal  Prec.  Bracket gold test Bracket Words  Tags Accracy",
      "=" * 76,
    ]
    lines += [_line(number, score) for number, score in enumerate(result["per_sentence"], 1)]
    lines += ["=" * 76]
  for title, summary in (
    ("-- All --", result["all"]),
    (f"-- len<={result['cutoff_length']} --", result["cutoff"]),
  ):
    lines += [
      "",
      title,
      *(
        f"{name:26}= {summary[key]:6d}"
        if isinstance(summary[key], int)
        else f"{name:26}= {summary[key]:6.2f}"
        for name, key in _FIGURES
      ),
    ]
  lines += [
    "",
    f"{'label':12} {'gold':>7} {'predicted':>9} {'matched':>7} {'recall':>7} {'precision':>9} {'F1':>7}",
  ]
  lines += [
    f"{label:12} {row['gold']:7d} {row['predicted']:9d} {row['matched']:7d} {row['recall']:7.2f} {row['precision']:9.2f} {row['f1']:7.2f}"
    for label, row in result["labels"].items()
  ]
  return lines


def _line(number, score):
  return (
    f"{number:4d}  {score.length:3d}    {score.status}  {percent(score.matched, score.gold):6.2f} {percent(score.matched, score.predicted):6.2f}"
    f"   {score.matched:3d}    {score.gold:3d}  {score.predicted:3d}    {score.crossing:3d}   {score.words:4d}  {score.correct_tags:4d}"
    f"   {percent(score.correct_tags, score.words):6.2f}"
  )


def _read(text):
  """(Tree, what is wrong with the text); of one whose brackets are wrong the leaves alone."""
  try:
    return parse_tree(text), ""
  except TreeError as error:
    return Tree(find_leaves(text), ()), str(error)


def _read_rules(path):
  try:
    return read_parameters(read_lines(path))
  except ValueError as error:
    raise ConfigError(
      "--parameters",
      f"{path}:{error}",
      f"use {', '.join(PARAMETERS)} or a parameter file of EVALB's",
    ) from None
