"""The model in the explorer page, which computes with it: its parameters, settings and tokenizer.

The page's script (explorer/model/weights.js) reads a JSON object:
  settings: those of config/model.py that change what is computed
  max_source, max_extra_length, max_output: limits of lengths, in tokens; the last may be null
  tokenizer: kind; files: name -> [the byte at which it begins, its length]
  parameters: name in the run -> rows, columns, begin (byte), and kind: float32, float16 or int8,
    whose scales (float32, one for each row) begin at scales; a vector has columns 0
  packed: all arrays and files, little-endian, deflated, base64
  notes: what the reader should know, names that the page's texts go by
or, for a run that the page cannot compute, only
  refusal: why, a line
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from transformer_jax.analysis.attention.packed_arrays import PackedArrays
from transformer_jax.checkpoints.quantization import as_matrix, is_matrix, to_int8
from transformer_jax.config import Config
from transformer_jax.data.tokenizers.tokenizer import SavableTokenizer
from transformer_jax.runs.cut_sources import longest_source

MAX_PARAMETERS = 6_000_000
MAX_IN_FLOAT16 = 1_000_000  # parameters; larger models are packed in int8

_TOKENIZERS = ("sentencepiece", "subword_nmt", "segmented")
_SETTINGS = (
  "num_layers",
  "d_model",
  "num_heads",
  "d_k",
  "positions",
  "norm",
  "embedding_sharing",
  "activation",
  "layer_norm_epsilon",
)


def model_in_page(
  config: Config,
  tokenizer: SavableTokenizer,
  parameters: Mapping[str, np.ndarray],
  quantization: str = "",
) -> dict[str, Any]:
  """Returns the object that the page computes from, or that says why it cannot.

  Args:
    config: the run's settings.
    tokenizer: its tokenizer.
    parameters: its parameters by name, as `TrainedModel.parameters` returns them.
    quantization: "int8", "float16" or "float32"; by default as `default_quantization` says.
  """
  count = sum(array.size for array in parameters.values())
  if problem := refusal(config, count):
    return dict(refusal=problem)
  arrays = PackedArrays()
  quantization = quantization or default_quantization(count)
  packed = {name: _packed(arrays, name, array, quantization) for name, array in parameters.items()}
  files = {name: [arrays.add(content), len(content)] for name, content in tokenizer.files().items()}
  return dict(
    settings={name: getattr(config.model, name) for name in _SETTINGS},
    max_source=longest_source(config),
    max_extra_length=config.decode.max_extra_length,
    max_output=config.model.max_positions if config.model.positions == "learned" else None,
    tokenizer=dict(kind=tokenizer.kind, files=files),
    parameters=packed,
    packed=arrays.packed(),
    notes=_notes(config),
  )


def default_quantization(count: int) -> str:
  """Returns how a model of so many parameters is packed: "float16" if it is small, else "int8"."""
  return "float16" if count <= MAX_IN_FLOAT16 else "int8"


def refusal(config: Config, count: int) -> str:
  """Returns why a page cannot compute a run, with `count` parameters; "" if it can."""
  if config.data.task != "translation":
    return f"--task={config.data.task}: a page computes translations only"
  if config.data.tokenizer not in _TOKENIZERS:
    return f"--tokenizer={config.data.tokenizer}: a page has no such tokenizer"
  if count > MAX_PARAMETERS:
    return f"the model has {count:,} parameters, and a page carries at most {MAX_PARAMETERS:,}"
  return ""


def _notes(config: Config) -> list[str]:
  """Returns what the reader should know of this run's page."""
  notes = []
  if config.data.preprocessing != "none":
    notes.append("preprocessed")
  if config.model.dtype != "float32":
    notes.append("bfloat16")
  return notes


def _packed(
  arrays: PackedArrays, name: str, array: np.ndarray, quantization: str
) -> dict[str, Any]:
  """Adds a parameter to the arrays; returns where it is."""
  if not is_matrix(array):
    return dict(rows=len(array), columns=0, kind="float32", begin=arrays.add(array.astype("<f4")))
  matrix = as_matrix(name, array)
  place: dict[str, Any] = dict(rows=matrix.shape[0], columns=matrix.shape[1], kind=quantization)
  if quantization == "int8":
    values, scales = to_int8(matrix)
    return dict(**place, begin=arrays.add(values), scales=arrays.add(scales.astype("<f4")))
  return dict(
    **place, begin=arrays.add(matrix.astype("<f2" if quantization == "float16" else "<f4"))
  )
