"""`attention`: writes attention.json, the explorer page and figures to a folder per sentence."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from transformer_jax.analysis.attention import figures
from transformer_jax.analysis.attention.examples import examples
from transformer_jax.analysis.attention.given_weights import read_attention
from transformer_jax.analysis.attention.maps import (
  SentenceAttention,
  sentence_attention,
  to_json,
)
from transformer_jax.analysis.attention.model_in_page import model_in_page
from transformer_jax.analysis.attention.page import page
from transformer_jax.data.text import read_lines
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import StrPath, as_workdir_error, atomic_write
from transformer_jax.runs.measured_heads import read_heads
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text


@dataclasses.dataclass(frozen=True)
class Sentences:
  """The sentences to show attention for: one, perhaps with its output, or those of a file."""

  source: str = ""
  target: str | None = None  # None: the model's own output
  input_path: str = ""
  are_preprocessed: bool = False  # whether they have been through the run's preprocessing

  def check(self) -> None:
    """Checks that there is either a sentence or a file.

    Raises:
      ConfigError: both or neither are given, or an output for a file.
    """
    if bool(self.source) == bool(self.input_path) or (self.target and self.input_path):
      raise ConfigError(
        "--source", "give a sentence (--target is optional), or a file of sentences by --input"
      )

  def numbered(self) -> list[tuple[int | None, str]]:
    """Returns (line number, text) of each sentence that is not blank.

    Raises:
      DataError: the file has none.
    """
    if self.source:
      return [(None, self.source)]
    lines = enumerate(read_lines(self.input_path), 1)
    found: list[tuple[int | None, str]] = [(number, text) for number, text in lines if text.strip()]
    if not found:
      raise DataError(self.input_path, "has no sentences")
    return found


def report(
  workdir: str | pathlib.Path,
  output: str | os.PathLike[str],
  sentences: Sentences,
  selection: figures.Selection,
  *,
  overrides: Mapping[str, Any],
  with_figures: bool | None = None,
  with_model: bool = True,
  checkpoint: int | str = "last",
) -> list[pathlib.Path]:
  """Writes attention.json, the page and the figures of sentences.

  Args:
    workdir: folder of the run.
    output: folder. For a file of sentences it gets a folder for each, named by line number.
    sentences: the Sentences. A sentence of a file that cannot be shown is left out and reported on
      standard error.
    selection: what the figures show.
    overrides: decoding settings that replace the run's.
    with_figures: whether to draw figures beside page and JSON; None: for sentences of at most
      `figures.MOST_WORDS` sub-words.
    with_model: whether the page of a single sentence carries the model, to type other ones.
    checkpoint: "best", "last" or a step, as for `TrainedModel.load`.

  Returns:
    The folders, one for each sentence.

  Raises:
    ConfigError: both a sentence and a file or neither, or a wrong layer, head or word.
    DataError: an empty sentence, or a file without any that can be shown.
  """
  sentences.check()
  numbered = sentences.numbered()
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  selection.check(translator.config.model.num_layers, translator.config.model.num_heads)
  importance = read_heads(workdir, translator.steps)
  parts = _model_parts(translator) if with_model and not sentences.input_path else {}
  folders = []
  for number, text in numbered:
    try:
      attention = sentence_attention(translator, text, sentences.target, sentences.are_preprocessed)
      selection.check_word(attention)
    except (ValueError, ConfigError) as error:
      if number is None:
        raise _refused(error) from None
      print(f"transformer-jax: {sentences.input_path}:{number}: {error}", file=sys.stderr)
      continue
    folder = pathlib.Path(output)
    if number is not None:
      folder /= str(number)
    _write(attention, page(attention, importance, selection.view(), **parts), folder)
    if _draws(attention, with_figures):
      with as_workdir_error(folder):
        figures.draw(attention, translator.config, folder, selection)
    folders.append(folder)
  if not folders:
    raise DataError(sentences.input_path, "none of its sentences can be shown")
  return folders


def _model_parts(translator: TrainedModel) -> dict[str, Any]:
  """Returns what of `page`'s arguments belongs to the model in the page."""
  model = model_in_page(translator.config, translator.task.tokenizer, translator.parameters())
  return dict(model=model, examples=examples(translator.config.data))


def report_given(
  path: StrPath,
  output: StrPath,
  selection: figures.Selection,
  with_figures: bool | None = None,
) -> None:
  """Writes the same for the attention of any model, read from a file of the same format.

  Args:
    path: the JSON file.
    output: folder.
    selection: what the figures show.
    with_figures: as for `report`.

  Raises:
    ConfigError: a wrong layer, head or word.
    DataError: the file is not of the format.
  """
  attention = read_attention(path)
  selection.check(*attention.first.weights_NHTS.shape[:2])
  selection.check_word(attention)
  folder = pathlib.Path(output)
  _write(attention, page(attention, view=selection.view()), folder)
  if _draws(attention, with_figures):
    with as_workdir_error(folder):
      figures.draw(attention, None, folder, selection)


def _refused(error: ValueError | ConfigError) -> ConfigError | DataError:
  """Returns the error of a sentence that cannot be shown."""
  return error if isinstance(error, ConfigError) else DataError("--source", str(error))


def _draws(attention: SentenceAttention, with_figures: bool | None) -> bool:
  """Returns whether figures are drawn; reports why if they were not refused."""
  count = figures.words_shown(attention)
  draws = count <= figures.MOST_WORDS if with_figures is None else with_figures
  problem = ""
  if not draws and with_figures is None:
    problem = f"no figures of a sentence of {count} sub-words, which nobody could read (--figures)"
  elif draws and (missing := figures.missing_characters(attention)):
    problem = f"no installed font has {missing}: install one (Debian: fonts-noto-cjk)"
  if problem:
    print(f"transformer-jax: {problem}", file=sys.stderr)
  return draws


def _write(attention: SentenceAttention, html: str, folder: pathlib.Path) -> None:
  """Writes attention.json and attention.html, and removes the figures of another sentence."""
  with as_workdir_error(folder):
    folder.mkdir(parents=True, exist_ok=True)
    figures.remove(folder)
  text = json_text(to_json(attention), ensure_ascii=False)
  atomic_write(folder / "attention.json", text + "\n")
  atomic_write(folder / "attention.html", html)
