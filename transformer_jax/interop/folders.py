"""Folders that hold a model, known by a file that only they have: `import` and `load` read them."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NoReturn

from transformer_jax import parallel
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.files import StrPath
from transformer_jax.interop import marian, safetensors
from transformer_jax.interop.imported import Imported
from transformer_jax.interop.marian import read_marian
from transformer_jax.runs.build import build_model, build_task
from transformer_jax.runs.trained_model import TrainedModel

_RUN = ("checkpoints", "tokenizer")  # its subfolders; a Marian model has a config.json, too
_READABLE = (
  "what export --format=safetensors or huggingface wrote, or a Marian model that save_pretrained "
  "wrote"
)


def _refuse_run(folder: pathlib.Path) -> NoReturn:
  raise ConfigError(
    folder,
    "is the workdir of a run already",
    "give it as --workdir, or as --init_from to train a copy",
  )


def _refuse_ctranslate2(folder: pathlib.Path) -> NoReturn:
  raise ConfigError(
    folder,
    "is a CTranslate2 model, whose arrays cannot be read back",
    f"name the run that it was exported from, or a folder with {_READABLE}",
  )


# A file that only this kind of folder has -> what reads or refuses it; looked for in this order.
READERS: dict[str, Callable[[pathlib.Path], Imported]] = {
  **dict.fromkeys(_RUN, _refuse_run),
  "model.bin": _refuse_ctranslate2,
  marian.CONFIG: read_marian,
  safetensors.FILE: safetensors.read,
}


def read_model(folder: StrPath) -> Imported:
  """Returns the model in a folder; writes nothing.

  Raises:
    ConfigError: nothing can be read there, or the model has a setting that we lack; names it.
    CheckpointError, DataError: its arrays or its tokenizer cannot be used; names the file.

  Example:
    config, tokenizer, params, steps, notes = read_model("quickstart.safetensors")
  """
  parallel.start_up()
  reader = _reader(folder)
  if reader is None:
    raise ConfigError(folder, "holds no model that can be read", f"name a folder with {_READABLE}")
  return reader(pathlib.Path(folder))


def load_model(folder: StrPath, checkpoint: int | str = "last", **settings: Any) -> TrainedModel:
  """Loads a run, or the model in another folder that `read_model` reads.

  Args:
    folder: the workdir of a run, or such a folder.
    checkpoint: of a run, as `TrainedModel.load` takes it.
    **settings: decoding settings that override those of the run or the model.

  Raises:
    WorkdirError: there is neither.
    ConfigError: `checkpoint`, `step` or `average_last` is given for a model that is no run.
    TransformerJaxError: as `read_model`, and as `TrainedModel.load`.

  Example:
    model = load_model("quickstart.safetensors", beam_size=1)
    model.translate(["forty two"])  # ["zweiundvierzig"]
  """
  if any(_has(folder, name) for name in _RUN):
    return TrainedModel.load(folder, checkpoint, **settings)
  if _reader(folder) is None:
    raise WorkdirError(
      folder,
      "there is no run here (no config.json), and no other model that can be read",
      f"name the workdir of a run, or a folder with {_READABLE}",
    )
  _refuse_choice(folder, checkpoint, settings)
  settings.pop("step", None)
  model = read_model(folder)
  config = model.config.override(settings)
  task = build_task(config.data, model.tokenizer)
  return TrainedModel(config, task, build_model(config, task), model.params, model.steps)


def _has(folder: StrPath, name: str) -> bool:
  return os.path.exists(os.path.join(folder, name))  # False where pathlib's raises


def _reader(folder: StrPath) -> Callable[[pathlib.Path], Imported] | None:
  return next((reader for name, reader in READERS.items() if _has(folder, name)), None)


def _refuse_choice(folder: StrPath, checkpoint: int | str, settings: dict[str, Any]) -> None:
  """Refuses to choose among the checkpoints of a model that has no others.

  Raises:
    ConfigError: names the argument.
  """
  given = dict(checkpoint=checkpoint, step=settings.get("step"))
  given["average_last"] = settings.get("average_last")
  harmless = dict(checkpoint=("last",), step=(None,), average_last=(None, 1))
  for name, value in given.items():
    if value not in harmless[name]:
      raise ConfigError(
        f"{name}={value}", f"{folder} is not a run: it has no checkpoints", "leave it out"
      )
