"""`parse`: reads sentences and writes one tree a line; output line i belongs to input line i."""

import sys
from collections.abc import Iterator
from typing import Any

from transformer_jax.data.line_stream import LineStream
from transformer_jax.data.preprocessing import penn_tokenize
from transformer_jax.data.trees import parse_tree, to_text
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath
from transformer_jax.runs.ensemble import load_together
from transformer_jax.runs.search import Answer
from transformer_jax.runs.translate import OnCut, answer_lines, scored_line


def parse(  # noqa: PLR0913 - one argument for each flag of the command
  workdir: StrPath,
  input_path: StrPath | None = None,
  output_path: StrPath | None = None,
  *,
  overrides: dict[str, Any],
  with_scores: bool = False,
  pretty: bool = False,
  tokenized_input: bool = False,
  checkpoint: int | str = "last",
  ensemble: str = "",
  is_strict: bool = False,
) -> None:
  """Parses a file or standard input to a file or standard output.

  At the end it prints to standard error how many trees were repaired.

  Args:
    workdir: folder of the run.
    input_path, output_path: files; None or "-" is standard input or output.
    overrides: decoding settings that replace the run's (None keeps it).
    with_scores: write "log-prob<TAB>score<TAB>tree".
    pretty: write a tree over several lines, indented, and an empty line after it.
    tokenized_input: the sentences are space-separated words; else they are split into words as in
      the Penn Treebank.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    ensemble: workdirs of other runs to parse with, as `load_together` takes them.
    is_strict: refuse lines that are not UTF-8.

  Raises:
    ConfigError: the run is not a parser, or both `pretty` and scores are requested.
    DataError: the input cannot be read as lines of text.
  """
  if pretty and with_scores:
    raise ConfigError("--pretty", "cannot show scores", "leave out --with_scores")
  translator = load_together(workdir, ensemble, checkpoint, **overrides)
  task_name = translator.config.data.task
  if task_name != "parsing":
    raise ConfigError(
      f"--workdir={workdir}", f"is a run of --task={task_name}", "use transformer-jax translate"
    )
  num_trees = num_repaired = 0

  def answer(lines: LineStream, on_cut: OnCut) -> Iterator[list[Answer]]:
    nonlocal num_trees, num_repaired
    sentences = lines if tokenized_input else map(penn_tokenize, lines)
    for n_best in translator.n_best(sentences, 1, on_cut=on_cut, is_at_hand=lines.is_at_hand):
      if n_best:
        num_trees += 1
        num_repaired += n_best[0].is_repaired
      yield n_best

  def to_line(_: int, n_best: list[Answer]) -> str:
    return _format(n_best, with_scores, pretty)

  answer_lines(input_path, output_path, translator, answer, to_line, is_strict)
  print(f"transformer-jax: {num_trees:,} trees, {num_repaired:,} of them repaired", file=sys.stderr)


def _format(n_best: list[Answer], with_scores: bool, pretty: bool) -> str:
  """Returns the text for the answer to a sentence; an empty sentence has none."""
  if with_scores:
    return scored_line(n_best)
  text = n_best[0].text if n_best else ""
  if pretty:
    return f"{to_text(parse_tree(text), pretty=True)}\n\n"
  return f"{text}\n"
