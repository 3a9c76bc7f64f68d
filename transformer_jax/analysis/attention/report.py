"""`attention`: for each sentence a folder with attention.json, the explorer page, and figures."""

import json
import pathlib
import sys

from transformer_jax.analysis.attention import figures as attention_figures
from transformer_jax.analysis.attention.maps import sentence_attention, to_json
from transformer_jax.analysis.attention.page import page
from transformer_jax.data.text import read_lines
from transformer_jax.errors import ConfigError, DataError
from transformer_jax.files import as_workdir_error, atomic_write
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text


def report(
  workdir,
  output,
  *,
  overrides,
  source=None,
  target=None,
  input_path=None,
  layer=None,
  head=None,
  word=None,
  with_figures=True,
  tokenized_input=False,
  checkpoint="last",
):
  """Writes what there is to see; returns the folders, one for each sentence.

  Args:
    workdir: folder of the run.
    output: folder; with a file of sentences it gets a folder for each, by line number.
    overrides: decoding settings that replace the run's.
    source, target: a sentence, and an output to look at instead of the model's own.
    input_path: a file of sentences instead; those with nothing to show are left out, and named on standard error.
    layer, head, word: which the figures show, counted from 1; None: chosen as `attention_figures.draw` says.
    with_figures: whether to draw figures beside page and JSON.
    tokenized_input: source and target have been through the run's preprocessing.
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.

  Raises:
    ConfigError: both or neither of `source` and `input_path`, or a layer, head or word that is not there.
    DataError: an empty sentence, or a file without any.
  """
  if bool(source) == bool(input_path) or (target and input_path):
    raise ConfigError(
      "--source", "give a sentence (and perhaps --target), or a file of sentences by --input"
    )
  sentences = (
    [(None, source)]
    if source
    else [(number, text) for number, text in enumerate(read_lines(input_path), 1) if text.strip()]
  )
  if not sentences:
    raise DataError(input_path, "has no sentences")
  translator = TrainedModel.load(workdir, checkpoint, **overrides)
  model = translator.config.model
  for name, value, limit in (("layer", layer, model.num_layers), ("head", head, model.num_heads)):
    if value is not None and not 1 <= value <= limit:
      raise ConfigError(f"--{name}={value}", f"the model has {limit}", f"1 to {limit}")
  if word is not None and word < 1:
    raise ConfigError(f"--word={word}", "words are counted from 1")
  importance = _importance(pathlib.Path(workdir) / "heads" / "heads.json", translator.steps)
  folders = []
  for number, text in sentences:
    folder = pathlib.Path(output) / (str(number) if number else "")
    where = f"{input_path}:{number}" if number else "--source"
    try:
      attention = sentence_attention(translator, text, target, tokenized_input)
    except ValueError as error:
      if not number:
        raise DataError(where, str(error)) from None
      print(f"transformer-jax: {where}: {error}", file=sys.stderr)
      continue
    with as_workdir_error(folder):
      folder.mkdir(parents=True, exist_ok=True)
    atomic_write(
      folder / "attention.json", json_text(to_json(attention), ensure_ascii=False) + "\n"
    )
    atomic_write(folder / "attention.html", page(attention, importance))
    if with_figures:
      with as_workdir_error(folder):
        attention_figures.draw(
          attention,
          translator.config,
          folder,
          *(None if value is None else value - 1 for value in (layer, head, word)),
        )
    folders.append(folder)
  return folders


def _importance(path, steps):
  """What `heads` wrote, or None; where it was measured on other checkpoints, a word about that."""
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    is_of_others = found["steps"] != steps
    found["perplexity"], found["heads"]
  except (OSError, ValueError, KeyError, TypeError):
    raise DataError(
      path, "is not what transformer-jax heads writes", "remove it, or run heads again"
    ) from None
  if is_of_others:
    print(
      f"transformer-jax: {path} was measured on checkpoints {found['steps']}, and these are {steps}",
      file=sys.stderr,
    )
  return found
