"""`translate`: lines in, lines out; line i answers line i, whatever its bytes."""

import sys

from transformer_jax.data.coming_lines import ComingLines, open_input
from transformer_jax.errors import ConfigError
from transformer_jax.files import output_file
from transformer_jax.runs.cut_sources import source_limit
from transformer_jax.runs.trained_model import TrainedModel


def translate(
  workdir,
  input_path=None,
  output_path=None,
  *,
  overrides,
  num_best=1,
  with_scores=False,
  tokenized_input=False,
  tokenized_output=False,
  checkpoint="last",
  is_strict=False,
):
  """Translates a file or standard input to a file or standard output.

  Args:
    workdir: folder of the run.
    input_path, output_path: files; None or "-" is standard input or output.
    overrides: decoding settings that replace the run's (None keeps it).
    num_best: lines written for each sentence; with more than one they are "number ||| text ||| log-prob ||| score".
    with_scores: writes "log-prob<TAB>score<TAB>text".
    tokenized_input, tokenized_output: the text is, and is to stay, as the run's preprocessing leaves it.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    is_strict: refuses lines that are not UTF-8.

  Raises:
    ConfigError: the run is no translation, or more translations are wanted of a sentence than the search keeps.
    DataError: the input cannot be read as lines of text.
  """
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  if translator.config.data.task != "translation":
    raise ConfigError(
      f"--workdir={workdir}",
      f"is a run of --task={translator.config.data.task}",
      "use transformer-jax parse",
    )
  beam_size = translator.config.decode.beam_size
  if not 1 <= num_best <= beam_size:
    raise ConfigError(
      f"--num_best={num_best}",
      f"is not between 1 and --beam_size={beam_size}",
      "raise --beam_size too",
    )
  detokenize = translator.config.data.preprocessing != "none" and not tokenized_output
  answer_lines(
    input_path,
    output_path,
    translator,
    lambda lines, warn: translator.n_best(
      lines, num_best, tokenized_input, detokenize, warn, lines.is_at_hand
    ),
    lambda number, n_best: _format(number, n_best, num_best, with_scores),
    is_strict,
  )


def answer_lines(input_path, output_path, translator, answer, to_text, is_strict=False):
  """Writes `to_text(number from 0, answer)` for each line read, before it waits for another one.

  Args:
    input_path, output_path: files; None or "-" is standard input or output.
    translator: a TrainedModel, for its length limit.
    answer: function (ComingLines, on_cut) -> iterator of answers; `on_cut` is what `TrainedModel.n_best` calls.
    to_text: see above; its text ends with a newline.
    is_strict: refuses lines that are not UTF-8; else they are counted, and told in the end.
  """
  name = input_path or "-"
  limit = source_limit(translator.config)
  warn = lambda number, length: print(
    f"transformer-jax: {name}:{number}: cut from {length} tokens to {limit}", file=sys.stderr
  )
  with open_input(input_path) as file, output_file(output_path) as output:
    lines = ComingLines(file, name, is_strict)
    for number, one in enumerate(answer(lines, warn)):
      output.write(to_text(number, one))
      output.flush()
  if lines.num_damaged:
    print(
      f"transformer-jax: {name}:{lines.first_damaged}: is not UTF-8, the first of {lines.num_damaged:,} such lines: "
      "what could not be read is U+FFFD; --strict refuses it",
      file=sys.stderr,
    )


def _format(number, n_best, num_best, with_scores):
  if num_best > 1:
    return (
      "".join(f"{number} ||| {t.text} ||| {t.log_prob:.6f} ||| {t.score:.6f}\n" for t in n_best)
      or f"{number} |||  ||| 0 ||| 0\n"
    )
  if with_scores:
    return (
      f"{n_best[0].log_prob:.6f}\t{n_best[0].score:.6f}\t{n_best[0].text}\n"
      if n_best
      else "0\t0\t\n"
    )
  return f"{n_best[0].text if n_best else ''}\n"
