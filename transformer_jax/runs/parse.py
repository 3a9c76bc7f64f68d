"""`parse`: sentences in, one bracketed tree a line out; line i answers line i."""

import sys

from transformer_jax.data.preprocessing import penn_tokenize
from transformer_jax.data.trees import parse_tree, to_text
from transformer_jax.errors import ConfigError
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.runs.translate import answer_lines


def parse(
  workdir,
  input_path=None,
  output_path=None,
  *,
  overrides,
  with_scores=False,
  pretty=False,
  tokenized_input=False,
  checkpoint="last",
  is_strict=False,
):
  """Parses a file or standard input to a file or standard output; says on standard error how many trees were repaired.

  Args:
    workdir: folder of the run.
    input_path, output_path: files; None or "-" is standard input or output.
    overrides: decoding settings that replace the run's (None keeps it).
    with_scores: writes "log-prob<TAB>score<TAB>tree".
    pretty: writes a tree over several lines, indented, and an empty line after it.
    tokenized_input: the sentences are words between spaces; else they are cut into words as the Penn Treebank does.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    is_strict: refuses lines that are not UTF-8.

  Raises:
    ConfigError: the run is no parser, or `pretty` is asked for with scores.
    DataError: the input cannot be read as lines of text.
  """
  if pretty and with_scores:
    raise ConfigError("--pretty", "has no place for scores", "leave out --with_scores")
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  if translator.config.data.task != "parsing":
    raise ConfigError(
      f"--workdir={workdir}",
      f"is a run of --task={translator.config.data.task}",
      "use transformer-jax translate",
    )
  count = dict(trees=0, repaired=0)

  def answer(lines, warn):
    sentences = lines if tokenized_input else map(penn_tokenize, lines)
    for n_best in translator.n_best(sentences, 1, on_cut=warn, is_at_hand=lines.is_at_hand):
      count["trees"] += bool(n_best)
      count["repaired"] += bool(n_best) and n_best[0].is_repaired
      yield n_best

  answer_lines(
    input_path,
    output_path,
    translator,
    answer,
    lambda number, n_best: _format(n_best, with_scores, pretty),
    is_strict,
  )
  print(
    f"transformer-jax: {count['trees']:,} trees, {count['repaired']:,} of them repaired",
    file=sys.stderr,
  )


def _format(n_best, with_scores, pretty):
  text = n_best[0].text if n_best else ""
  if pretty:
    return f"{to_text(parse_tree(text), pretty=True)}\n\n"
  if with_scores:
    return f"{n_best[0].log_prob:.6f}\t{n_best[0].score:.6f}\t{text}\n" if n_best else "0\t0\t\n"
  return f"{text}\n"
