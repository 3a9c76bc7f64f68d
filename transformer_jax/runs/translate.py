"""`translate`: reads lines and writes one for each; output line i belongs to input line i."""

import collections
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from transformer_jax.data.line_stream import LineStream, open_input
from transformer_jax.errors import ConfigError
from transformer_jax.files import OutputFile, StrPath, output_file
from transformer_jax.runs.alignment import (
  Aligner,
  Links,
  heads_of_run,
  named_heads,
  pharaoh,
)
from transformer_jax.runs.cut_sources import source_limit
from transformer_jax.runs.ensemble import load_together
from transformer_jax.runs.search import Answer
from transformer_jax.runs.trained_model import TrainedModel

OnCut = Callable[[int, int], None]  # (number of a line, from 1; its tokens)
Result = TypeVar("Result")
IsAtHand = Callable[[], bool]  # whether the next line can be read without waiting
AnswersAndLinks = tuple[list[Answer], list[Links]]  # of a sentence: answers, links of each


def translate(  # noqa: PLR0913 - one argument for each flag of the command
  workdir: StrPath,
  input_path: StrPath | None = None,
  output_path: StrPath | None = None,
  *,
  overrides: dict[str, Any],
  num_best: int = 1,
  with_scores: bool = False,
  tokenized_input: bool = False,
  tokenized_output: bool = False,
  checkpoint: int | str = "last",
  ensemble: str = "",
  is_strict: bool = False,
  alignment_path: StrPath | None = None,
  alignment_heads: str = "",
  alignment_position: str = "predicts",
) -> None:
  """Translates a file or standard input to a file or standard output.

  Args:
    workdir: folder of the run.
    input_path, output_path: files; None or "-" is standard input or output.
    overrides: decoding settings that replace the run's (None keeps it).
    num_best: lines to write for each sentence; if more than one, a line is
      "number ||| text ||| log-prob ||| score".
    with_scores: write "log-prob<TAB>score<TAB>text".
    tokenized_input: the text has been through the run's preprocessing.
    tokenized_output: do not undo that preprocessing in the output.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.
    ensemble: workdirs of other runs to translate with, as `load_together` takes them.
    is_strict: refuse lines that are not UTF-8.
    alignment_path: file for word alignments, a line for each line of the output; None writes none.
    alignment_heads: heads that align, such as "1.2,2.4"; "" takes those of `heads_of_run`.
    alignment_position: one of `alignment.POSITIONS`.

  Raises:
    ConfigError: the run is not a translation, the search keeps fewer than `num_best` translations
      of a sentence, or a head does not exist.
    DataError: the input cannot be read as lines of text, or heads.json is damaged.
  """
  translator = load_together(workdir, ensemble, checkpoint, **overrides)
  config = translator.config
  if config.data.task != "translation":
    raise ConfigError(
      f"--workdir={workdir}",
      f"is a run of --task={config.data.task}",
      "use transformer-jax parse",
    )
  beam_size = config.decode.beam_size
  if not 1 <= num_best <= beam_size:
    raise ConfigError(
      f"--num_best={num_best}",
      f"is not between 1 and --beam_size={beam_size}",
      "raise --beam_size too",
    )
  detokenize = config.data.preprocessing != "none" and not tokenized_output

  def n_best(texts: Iterable[str], on_cut: OnCut, is_at_hand: IsAtHand) -> Iterator[list[Answer]]:
    return translator.n_best(texts, num_best, tokenized_input, detokenize, on_cut, is_at_hand)

  def answer(lines: LineStream, on_cut: OnCut) -> Iterator[list[Answer]]:
    return n_best(lines, on_cut, lines.is_at_hand)

  def to_text(number: int, answers: list[Answer]) -> str:
    return _format(number, answers, num_best, with_scores)

  if not alignment_path:
    answer_lines(input_path, output_path, translator, answer, to_text, is_strict)
    return
  if alignment_heads:
    heads = named_heads(alignment_heads, config.model)
  else:
    heads = heads_of_run(translator, workdir)
  aligner = Aligner(translator, heads, tokenized_input, alignment_position)
  with output_file(alignment_path) as alignment:
    aligned, with_alignment = _aligned(aligner, n_best, to_text, alignment)
    answer_lines(input_path, output_path, translator, aligned, with_alignment, is_strict)


def _aligned(
  aligner: Aligner,
  n_best: Callable[[Iterable[str], OnCut, IsAtHand], Iterator[list[Answer]]],
  to_text: Callable[[int, list[Answer]], str],
  alignment: OutputFile,
) -> tuple[
  Callable[[LineStream, OnCut], Iterator[AnswersAndLinks]], Callable[[int, AnswersAndLinks], str]
]:
  """Returns what `answer_lines` takes to write alignments, too, each line with its answer's."""

  def answer(lines: LineStream, on_cut: OnCut) -> Iterator[AnswersAndLinks]:
    sentences = collections.deque()
    n_best_lists = n_best(_kept(lines, sentences), on_cut, lines.is_at_hand)
    return aligner.links_of_answers(sentences, n_best_lists, lines.is_at_hand)

  def text_and_alignment(number: int, result: AnswersAndLinks) -> str:
    answers, links = result
    alignment.write("".join(f"{pharaoh(each)}\n" for each in links) or "\n")
    alignment.flush()
    return to_text(number, answers)

  return answer, text_and_alignment


def _kept(texts: Iterable[str], kept: collections.deque[str]) -> Iterator[str]:
  """Yields the texts, and appends each to `kept`."""
  for text in texts:
    kept.append(text)
    yield text


def answer_lines(
  input_path: StrPath | None,
  output_path: StrPath | None,
  translator: TrainedModel,
  answer: Callable[[LineStream, OnCut], Iterator[Result]],
  to_text: Callable[[int, Result], str],
  is_strict: bool = False,
) -> None:
  """Writes the answer to each line that is read, before it waits for another one.

  Args:
    input_path, output_path: files; None or "-" is standard input or output.
    translator: a TrainedModel, for its length limit.
    answer: function (LineStream, on_cut) -> iterator of answers; `TrainedModel.n_best` calls
      `on_cut`.
    to_text: function (number of the line from 0, answer) -> the text to write, with its newline.
    is_strict: refuse lines that are not UTF-8; else they are counted and reported at the end.
  """
  name = input_path or "-"
  limit = source_limit(translator.config)

  def on_cut(number: int, length: int) -> None:
    print(f"transformer-jax: {name}:{number}: cut from {length} tokens to {limit}", file=sys.stderr)

  with open_input(input_path) as file, output_file(output_path) as output:
    lines = LineStream(file, name, is_strict)
    for number, result in enumerate(answer(lines, on_cut)):
      output.write(to_text(number, result))
      output.flush()
  if lines.num_damaged:
    print(
      f"transformer-jax: {name}:{lines.first_damaged}: is not UTF-8, the first of "
      f"{lines.num_damaged:,} such lines: what could not be read is U+FFFD; --strict refuses it",
      file=sys.stderr,
    )


def _format(number: int, n_best: list[Answer], num_best: int, with_scores: bool) -> str:
  """Returns the lines for the answers to sentence `number`; an empty sentence has no answers."""
  if num_best > 1:
    if not n_best:
      return f"{number} |||  ||| 0 ||| 0\n"
    lines = [
      f"{number} ||| {answer.text} ||| {answer.log_prob:.6f} ||| {answer.score:.6f}\n"
      for answer in n_best
    ]
    return "".join(lines)
  if with_scores:
    return scored_line(n_best)
  return f"{n_best[0].text}\n" if n_best else "\n"


def scored_line(n_best: list[Answer]) -> str:
  """Returns the line "log-prob<TAB>score<TAB>text" of the best answer, if any."""
  if not n_best:
    return "0\t0\t\n"
  best = n_best[0]
  return f"{best.log_prob:.6f}\t{best.score:.6f}\t{best.text}\n"
