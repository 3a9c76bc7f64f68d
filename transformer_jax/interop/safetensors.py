"""Writes the parameters under their own names to one file, and reads them, equal to the bit.

Matrices may be written in 16 or 8 bits; then what was left of them is read, to the bit.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from transformer_jax.checkpoints.leaves import check_fit, named_leaves
from transformer_jax.checkpoints.quantization import (
  Int8Matrix,
  as_matrix,
  is_matrix,
  rounded,
  to_int8,
)
from transformer_jax.config import Config
from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.folder import load_tokenizer, save_tokenizer
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.files import StrPath, atomic_write
from transformer_jax.interop.imported import Imported
from transformer_jax.runs.build import build_model, build_task, parameter_shapes
from transformer_jax.runs.digest import params_digest
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import whole_settings

FILE = "model.safetensors"

_SCALES = ".row_scales"  # an int8 matrix's, after its name
_AGAIN = "export the run again"


def write(model: TrainedModel, folder: pathlib.Path, quantization: str = "none") -> None:
  """Writes the parameters, the settings and the tokenizer into a folder that exists.

  Args:
    model: the model.
    folder: the folder.
    quantization: "none", or how matrices are stored: "int8" or "float16".
  """
  parameters = model.parameters()
  if quantization != "none":
    parameters = rounded(parameters, quantization)
  params = unflatten_dict(parameters, sep=".")
  metadata = {
    "format": "np",
    "settings": json_text(model.config.to_flat()),
    "step": str(model.steps[-1]),
    "steps": json_text(model.steps),
    "params_sha256": params_digest(dict(named_leaves(params))),
  }
  if quantization != "none":
    metadata["quantization"] = quantization
  write_arrays(folder / FILE, _stored(parameters, quantization), metadata)
  save_tokenizer(model.task.tokenizer, folder)


def _stored(parameters: Mapping[str, np.ndarray], quantization: str) -> dict[str, np.ndarray]:
  """Returns the file's arrays; an int8 matrix has its scales beside it."""
  arrays = dict(parameters)
  for name, array in parameters.items():
    if not is_matrix(array):
      continue
    if quantization == "float16":
      arrays[name] = array.astype(np.float16)
    elif quantization == "int8":
      matrix = to_int8(as_matrix(name, array))
      arrays[name] = matrix.values.reshape(array.shape)
      arrays[name + _SCALES] = matrix.scales
  return arrays


def _restored(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the parameters, float32, of `_stored` arrays; of others, what they are."""
  parameters = {}
  for name, array in arrays.items():
    scales = arrays.get(name + _SCALES)
    if array.dtype == np.int8 and scales is not None and array.size % scales.size == 0:
      matrix = Int8Matrix(array.reshape(scales.size, -1), scales)
      parameters[name] = matrix.to_float().reshape(array.shape)
    elif array.dtype == np.float16:
      parameters[name] = array.astype(np.float32)
    elif not name.endswith(_SCALES):
      parameters[name] = array
  return parameters


def read(folder: StrPath) -> Imported:
  """Returns what `write` wrote. The text that the settings name need not exist.

  Raises:
    ConfigError: the file has no settings, as that of another program, or damaged ones.
    DataError: a file of the tokenizer is missing or damaged; names it.
    CheckpointError: the file is not whole, or its arrays are not those that were written; names the
      first one that does not fit the settings.

  Example:
    config, tokenizer, params, steps, _ = read("quickstart.safetensors")
  """
  folder = pathlib.Path(folder)
  path = folder / FILE
  metadata, arrays = read_arrays(path)
  if "quantization" in metadata:
    arrays = _restored(arrays)
  config, steps = _described(metadata, path)
  tokenizer = load_tokenizer(folder)
  task = config.data.task
  kind = task if task == "parsing" else config.data.tokenizer
  if tokenizer.kind != kind:
    raise DataError(
      folder / "tokenizer.json", f"is of kind {tokenizer.kind}, and {FILE} needs {kind}", _AGAIN
    )
  _check_fit(config, tokenizer, arrays, path)
  params = unflatten_dict(arrays, sep=".")
  if "params_sha256" in metadata:
    found = params_digest(dict(named_leaves(params)))
    if found != metadata["params_sha256"]:
      problem = "its arrays are not those that were written (another SHA-256)"
      raise CheckpointError(path, problem, _AGAIN)
  steps_text = ", ".join(map(str, steps))
  notes = [f"the parameters are the average of steps {steps_text}"] if len(steps) > 1 else []
  return Imported(config, tokenizer, params, steps, notes)


def _described(metadata: Mapping[str, str], path: pathlib.Path) -> tuple[Config, list[int]]:
  """Returns the settings and the steps that a file's header gives.

  Raises:
    ConfigError: it gives none, or damaged ones.
  """
  if "settings" not in metadata:
    raise ConfigError(
      path,
      "has no settings of ours, and there is no config.json of a Marian model beside it",
      "give a folder that export --format=safetensors or save_pretrained wrote",
    )
  try:
    settings, steps = (json.loads(metadata[name]) for name in ("settings", "steps"))
  except (ValueError, KeyError, RecursionError):
    raise ConfigError(path, "the settings in its header are damaged", _AGAIN) from None
  config = Config.from_flat(whole_settings(settings, path))
  if not isinstance(steps, list) or not steps or {*map(type, steps)} != {int} or min(steps) < 0:
    raise ConfigError(path, "the steps in its header are damaged", _AGAIN)
  return config, steps


def _check_fit(
  config: Config, tokenizer: Any, arrays: Mapping[str, np.ndarray], path: pathlib.Path
) -> None:
  """Checks that the arrays are those of the model that the settings describe, and finite.

  Raises:
    CheckpointError: names the first array that is not.
  """
  model = build_model(config, build_task(config.data, tokenizer))
  check_fit(flatten_dict(parameter_shapes(model), sep="."), arrays, path, _AGAIN)
  for name, array in arrays.items():
    if not np.all(np.isfinite(array)):
      raise CheckpointError(path, f"{name} has numbers that are not finite", _AGAIN)


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
  atomic_write(path, safetensors.numpy.save(contiguous, metadata=metadata))


def read_arrays(path: pathlib.Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
  """Returns (metadata, name -> array of its own type) of a safetensors file.

  Raises:
    CheckpointError: it cannot be read, is not whole, or has an array of a type that numpy lacks.
  """
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      arrays = {name: file.get_tensor(name) for name in file.keys()}
      return file.metadata() or {}, arrays
  except OSError as error:
    raise CheckpointError(path, f"cannot be read: {read_problem(error)}") from None
  except Exception as error:  # the library's own classes, of any version
    problem = f"is not a whole safetensors file: {error}"
    raise CheckpointError(path, problem, "fetch or write it again") from None
