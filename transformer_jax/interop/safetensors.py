"""Writes the parameters under their own names to one file, and reads them, equal to the bit."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from transformer_jax.config import Config
from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.folder import save_tokenizer
from transformer_jax.errors import DataError, TransformerJaxError
from transformer_jax.files import StrPath, atomic_write
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text

FILE = "model.safetensors"


class Exported(NamedTuple):
  """A model that `read` returns.

  Attributes:
    params: the parameters as a tree of numpy arrays, as `TrainedModel.params` is one.
    config: the run's settings.
    steps: the checkpoints that the parameters are from.
  """

  params: dict[str, Any]
  config: Config
  steps: list[int]


def write(model: TrainedModel, folder: pathlib.Path) -> None:
  """Writes the parameters, the settings and the tokenizer into a folder that exists."""
  metadata = {
    "format": "np",
    "settings": json_text(model.config.to_flat()),
    "step": str(model.steps[-1]),
    "steps": json_text(model.steps),
  }
  write_arrays(folder / FILE, model.parameters(), metadata)
  save_tokenizer(model.task.tokenizer, folder)


def read(folder: StrPath) -> Exported:
  """Returns what `write` wrote; the tokenizer beside it is for `load_tokenizer(folder)`.

  Raises:
    DataError: there is no such file, or it is not one of ours.

  Example:
    params, config, steps = read("quickstart.safetensors")
  """
  path = pathlib.Path(folder) / FILE
  try:
    metadata, arrays = read_arrays(path)
    settings = json.loads(metadata["settings"])
    steps = [int(step) for step in json.loads(metadata["steps"])]
    config = Config.from_flat(settings)
  except OSError as error:
    raise DataError(path, f"cannot be read: {read_problem(error)}") from None
  except (ValueError, KeyError, TypeError, RecursionError, TransformerJaxError) as error:
    remedy = "give a folder that export --format=safetensors wrote"
    raise DataError(path, f"is not an exported model: {error}", remedy) from None
  return Exported(unflatten_dict(arrays, sep="."), config, steps)


def write_arrays(
  path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
  """Writes a safetensors file.

  Args:
    path: the file.
    arrays: name -> array.
    metadata: the texts of its header.
  """
  contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  atomic_write(path, _library().numpy.save(contiguous, metadata=metadata))


def read_arrays(path: pathlib.Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
  """Returns (metadata, name -> array of its own type) of a safetensors file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is not a whole safetensors file, or an array has a type that numpy lacks.
  """
  library = _library()
  try:
    with library.safe_open(path, framework="numpy") as file:
      arrays = {name: file.get_tensor(name) for name in file.keys()}
      return file.metadata() or {}, arrays
  except OSError:
    raise
  except Exception as error:  # the library's own classes, of any version
    raise ValueError(str(error)) from None


def _library() -> Any:
  try:
    import safetensors.numpy  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
  except ImportError:
    raise DataError(
      "safetensors files",
      "need the package safetensors",
      "pip install 'transformer_jax[huggingface]'",
    ) from None
  return safetensors
