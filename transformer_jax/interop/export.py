"""`export`: writes a run or a TrainedModel as a folder for other programs, whole or not at all."""

import pathlib
from typing import Any

from transformer_jax.config import Config
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath, atomic_write, new_folder
from transformer_jax.interop import ctranslate2, huggingface, safetensors
from transformer_jax.interop.checks import Form, check, check_output
from transformer_jax.interop.readme import kept_scores, readme
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.workdir.folder import Workdir


def export(
  workdir: StrPath,
  output: StrPath,
  form: Form,
  *,
  overrides: dict[str, Any],
  checkpoint: int | str = "last",
) -> None:
  """Writes a run to a new folder.

  Args:
    workdir: folder of the run.
    output: the folder to make.
    form: the format, and its options.
    overrides: decoding settings that replace the run's (None keeps it).
    checkpoint: "best", "last" or a step, as `TrainedModel.load` takes it.

  Raises:
    ConfigError: the form cannot express this run, or its package is missing.
    WorkdirError: the output exists, or cannot be written.
    CheckpointError: there is no such checkpoint, or it cannot be read.
  """
  check(Config.from_flat(Workdir(workdir, primary=False).read_config()), form)
  check_output(output)
  model = TrainedModel.load(workdir, checkpoint, **overrides)
  name = pathlib.Path(workdir).resolve().name
  export_model(model, output, form, name, kept_scores(workdir, model.steps))


def export_model(
  model: TrainedModel,
  output: StrPath,
  form: Form,
  name: str = "model",
  scores: list[dict[str, Any]] | None = None,
) -> None:
  """Writes a loaded model to a new folder.

  Args:
    model: the model.
    output: the folder to make.
    form: the format, and its options.
    name: the model's name, for README.md.
    scores: results of evaluations, for README.md.

  Raises:
    ConfigError, WorkdirError: as `export`.

  Example:
    model = transformer_jax.load("runs/quickstart", checkpoint="best")
    export_model(model, "quickstart.ct2", Form("ctranslate2", quantization="int8"))
  """
  check(model.config, form)
  if model.has_closed_heads:
    raise ConfigError(
      "model", "has closed heads, which no format has", "export the model without with_heads_closed"
    )
  with new_folder(output) as folder:
    if form.format == "ctranslate2":
      ctranslate2.write(model, folder, form.quantization)
    elif form.format == "huggingface":
      huggingface.write(model, folder, form.is_untied)
    else:
      safetensors.write(model, folder, form.quantization)
    atomic_write(folder / "README.md", readme(model, form, name, scores or []))
