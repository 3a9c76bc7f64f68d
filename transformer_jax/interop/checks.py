"""Refuses runs that a format cannot express, before anything is loaded (no jax).

The Hugging Face folder is a Marian model, which has few settings; CTranslate2 takes every
translation run.
"""

import dataclasses
import importlib.util

from transformer_jax.config import Config
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath, check_new

# Format -> the package that it needs beside those that are always there; its extra is of that name.
PACKAGES = {"ctranslate2": "ctranslate2", "huggingface": None, "safetensors": None}
# CTranslate2 has bfloat16 too, but converts to it only with torch.
QUANTIZATIONS = (
  "none",
  "int8",
  "int8_float32",
  "int8_float16",
  "int16",
  "float16",
  "float32",
)
# Those of our own file; each leaves float32 parameters when it is read.
_OF_SAFETENSORS = ("none", "int8", "float16")
_USE_CTRANSLATE2 = "use --format=ctranslate2"


@dataclasses.dataclass(frozen=True)
class Form:
  """The form that a model is exported in.

  Attributes:
    format: "ctranslate2", "huggingface" or "safetensors".
    quantization: for ctranslate2, one of QUANTIZATIONS; for safetensors, int8 or float16.
    is_untied: for huggingface, whether embeddings and output matrix are written separately.
  """

  format: str
  quantization: str = "none"
  is_untied: bool = False


def check(config: Config, form: Form) -> None:
  """Refuses a form that cannot express the run, or whose package is missing.

  Raises:
    ConfigError: names the setting that cannot be expressed.
  """
  if form.format not in PACKAGES:
    raise ConfigError(
      f"--format={form.format}", "there is no such format", f"choose one of {', '.join(PACKAGES)}"
    )
  if form.quantization not in QUANTIZATIONS:
    known = ", ".join(QUANTIZATIONS)
    raise ConfigError(
      f"--quantization={form.quantization}", "is not known", f"choose one of {known}"
    )
  if form.format == "safetensors" and form.quantization not in _OF_SAFETENSORS:
    raise ConfigError(
      f"--quantization={form.quantization}",
      "--format=safetensors has no such form",
      f"choose one of {', '.join(_OF_SAFETENSORS)}, or {_USE_CTRANSLATE2}",
    )
  if form.format == "huggingface" and form.quantization != "none":
    raise ConfigError(
      f"--quantization={form.quantization}",
      f"--format={form.format} keeps the parameters as they are",
      _USE_CTRANSLATE2,
    )
  if form.is_untied and form.format != "huggingface":
    raise ConfigError("--untied", f"--format={form.format} is exact without it", "leave it out")
  if form.format != "safetensors" and config.data.task != "translation":
    raise ConfigError(
      f"--task={config.data.task}",
      f"--format={form.format} translates text",
      "use --format=safetensors",
    )
  if form.format == "huggingface":
    _check_marian(config)
  _check_package(form.format)


def check_output(output: StrPath) -> None:
  """Refuses a folder that is there already, or cannot be made.

  Raises:
    WorkdirError: it exists, or the folder to make it in is not writable.
  """
  check_new(output, "give --output a new folder")


def _check_marian(config: Config) -> None:
  model, data = config.model, config.data
  if model.norm != "post":
    raise ConfigError(
      f"--norm={model.norm}", "Marian normalizes after each sub-layer", _USE_CTRANSLATE2
    )
  width_of_heads = f"{model.d_model / model.num_heads:g}"
  for name, width in (("d_k", model.d_k), ("d_v", model.d_v)):
    if width * model.num_heads != model.d_model:
      raise ConfigError(
        f"--{name}={width}",
        f"Marian's heads have the width d_model / num_heads = {width_of_heads}",
        _USE_CTRANSLATE2,
      )
  if model.positions != "sinusoidal":
    raise ConfigError(
      f"--positions={model.positions}", "Marian computes the paper's sinusoids", _USE_CTRANSLATE2
    )
  if data.tokenizer not in ("sentencepiece", "marian"):
    raise ConfigError(
      f"--tokenizer={data.tokenizer}",
      "a Marian tokenizer reads SentencePiece models",
      _USE_CTRANSLATE2,
    )
  if data.preprocessing != "none":
    raise ConfigError(
      f"--preprocessing={data.preprocessing}",
      "a Marian tokenizer takes raw text",
      _USE_CTRANSLATE2,
    )


def _check_package(export_format: str) -> None:
  package = PACKAGES[export_format]
  if package and importlib.util.find_spec(package) is None:
    raise ConfigError(
      f"--format={export_format}",
      f"needs the package {package}",
      f"pip install 'transformer_jax[{package}]'",
    )
