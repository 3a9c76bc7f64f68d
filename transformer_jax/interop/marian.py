"""Reads a Marian model as transformers' `save_pretrained` writes it; OPUS-MT is published so.

Marian's table of positions has all sines before all cosines, and ours interleaves them. So the D
features of every array are put into our order, which changes no result. Marian's matrices are
[out, in], ours [in, out].
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transformer_jax.config import PAD_ID, Config
from transformer_jax.data.text import read_problem
from transformer_jax.data.tokenizers.marian import FILES as TOKENIZER_FILES
from transformer_jax.data.tokenizers.marian import VOCABULARY, MarianTokenizer
from transformer_jax.errors import CheckpointError, ConfigError, DataError
from transformer_jax.interop.imported import Imported
from transformer_jax.interop.parameters import sines_first
from transformer_jax.interop.safetensors import read_arrays
from transformer_jax.model.positions import sinusoids
from transformer_jax.strict_json import json_text

CONFIG = "config.json"
TENSORS = "model.safetensors"
GENERATION = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
FILES = (CONFIG, TENSORS, GENERATION, TOKENIZER_CONFIG, *TOKENIZER_FILES)

_SAVE_PRETRAINED = "load it with transformers and write it with save_pretrained"
_OF_ONE_MODEL = "fetch the files of one model"
_NO_REMEDY = "such a model cannot be imported"
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}
_LONGEST_SOURCE = 512  # tokens of the longest sentences that the published models were trained on
# Names of the table of positions. transformers can compute it, so a file may lack it.
_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
_POSITIONS_TOLERANCE = 2e-3  # tolerance for a table in float16
# A setting -> (the only value that can be imported, its value where config.json lacks it, why). The
# second is the default of transformers; old releases wrote all settings.
_ONE_FORM = {
  "scale_embedding": (True, False, "embeddings are multiplied by sqrt(d_model) here, always"),
  "normalize_before": (False, False, "only norms after each sub-layer can be imported"),
  "normalize_embedding": (False, False, "there is no norm after the embeddings here"),
  "add_final_layer_norm": (False, False, "there is no norm after the last layer here"),
  "static_position_embeddings": (True, True, "only the paper's sinusoids can be imported"),
}
_FLOATS = ("float64", "float32", "float16", "bfloat16")
_SHARED = "model.shared.weight"
_SOURCE = "model.encoder.embed_tokens.weight"
_TARGET = "model.decoder.embed_tokens.weight"
_OUTPUT = "lm_head.weight"
_OUTPUT_BIAS = "final_logits_bias"

# Our attention's matrices -> theirs.
_PROJECTIONS = dict(query="q_proj", key="k_proj", value="v_proj", out="out_proj")
# Our sub-layers -> (their name, the name of the norm after it).
_ENCODER_ATTENTIONS = {"self_attention": ("self_attn", "self_attn_layer_norm")}
_DECODER_ATTENTIONS = {
  **_ENCODER_ATTENTIONS,
  "cross_attention": ("encoder_attn", "encoder_attn_layer_norm"),
}


def read_marian(folder: pathlib.Path) -> Imported:
  """Reads a Marian model; writes nothing.

  Raises:
    ConfigError: its settings cannot be expressed; names the setting.
    CheckpointError: an array is missing, left over, of another shape, or not finite; names it.
    DataError: a file of its tokenizer is missing or damaged.
  """
  settings = _Settings(folder)
  settings.check()
  config = settings.config()
  tokenizer = _read_tokenizer(folder)
  settings.check_vocabulary(tokenizer.vocab_size)
  if not (folder / TENSORS).is_file():
    raise _no_tensors(folder)
  tensors = _Tensors(folder / TENSORS, settings, tokenizer.marian_order())
  params = tensors.parameters()
  tensors.check_all_taken()
  config = config.replace(
    vocab_size=tokenizer.vocab_size,
    embedding_sharing=tensors.embedding_sharing,
    attention_bias=tensors.has_attention_bias,
    output_bias="output_bias" in params,
  )
  return Imported(config, tokenizer, params, [0], settings.notes())


class _Settings:
  """What config.json, generation_config.json and tokenizer_config.json say."""

  def __init__(self, folder: pathlib.Path) -> None:
    self._path = folder / CONFIG
    self._model = _read_json(self._path)
    self._generation_path = folder / GENERATION
    self._generation = _read_json(self._generation_path, is_optional=True)
    self._tokenizer = _read_json(folder / TOKENIZER_CONFIG, is_optional=True)

  @property
  def width(self) -> int:
    """D."""
    return self._whole("d_model")

  @property
  def num_layers(self) -> int:
    """N of each stack."""
    return self._whole("encoder_layers")

  @property
  def num_heads(self) -> int:
    """H of each attention."""
    return self._whole("encoder_attention_heads")

  @property
  def is_shared(self) -> bool:
    """Whether both embeddings are one matrix."""
    return self._boolean("share_encoder_decoder_embeddings")

  @property
  def is_tied(self) -> bool:
    """Whether the output matrix is the target's embedding."""
    return self._boolean("tie_word_embeddings")

  @property
  def inner_width(self) -> int:
    """F of each feed-forward network."""
    return self._whole("encoder_ffn_dim")

  def check(self) -> None:
    """Raises a ConfigError for the first setting that cannot be expressed."""
    kind = self._model.get("model_type")
    if kind != "marian":
      raise self._refusal("model_type", f"is {kind}", "import a Marian model")
    for ours, theirs in (
      ("encoder_layers", "decoder_layers"),
      ("encoder_ffn_dim", "decoder_ffn_dim"),
      ("encoder_attention_heads", "decoder_attention_heads"),
    ):
      if self._whole(ours) != self._whole(theirs):
        raise self._refusal(
          f"{ours} {self._whole(ours)}, {theirs} {self._whole(theirs)}",
          "differ, but the two stacks have one form here",
        )
    if self.width % self.num_heads:
      raise self._refusal(f"d_model {self.width}", f"is not a multiple of {self.num_heads} heads")
    for name, (required, default, problem) in _ONE_FORM.items():
      value = self._model.get(name, default)
      if value is not required:
        raise self._refusal(f"{name} {json_text(value)}", problem)
    activation = self._model.get("activation_function", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
      known = ", ".join(_ACTIVATIONS)
      raise self._refusal(f"activation_function {activation}", f"is not one of {known}")
    start, pad = self._model.get("decoder_start_token_id"), self._model.get("pad_token_id")
    if start != pad:
      raise self._refusal(f"decoder_start_token_id {start}", f"is not pad_token_id, {pad}")
    if self._tokenizer.get("separate_vocabs"):
      raise ConfigError(
        f"{self._path.parent / TOKENIZER_CONFIG}: separate_vocabs",
        "is true, but both languages have one vocabulary here",
        _NO_REMEDY,
      )

  def check_vocabulary(self, size: int) -> None:
    """Raises a ConfigError if the model has another number of pieces than the tokenizer."""
    for name in ("vocab_size", "decoder_vocab_size"):
      theirs = self._model.get(name)
      if theirs is not None and theirs != size:
        problem = f"is not the number of pieces in {VOCABULARY}, {size}"
        raise self._refusal(f"{name} {theirs}", problem, _OF_ONE_MODEL)

  def check_ids(self, pad: int, eos: int) -> None:
    """Raises a ConfigError if the model has other ids for PAD and EOS than the tokenizer."""
    for name, ours in (("pad_token_id", pad), ("eos_token_id", eos)):
      theirs = self._model.get(name)
      if theirs != ours:
        problem = f"is not the id in {VOCABULARY}, {ours}"
        raise self._refusal(f"{name} {theirs}", problem, _OF_ONE_MODEL)

  def config(self) -> Config:
    """Returns our settings, except those that the tokenizer and the arrays decide.

    Raises:
      ConfigError: one of them is of a wrong type or out of range.
    """
    try:
      return Config.from_flat(self._flat())
    except ConfigError as error:
      if not error.where.startswith("--"):
        raise
      # It names a flag, but no flag was given.
      raise ConfigError(self._path.parent, f"cannot be expressed: {error}") from None

  def _flat(self) -> dict[str, Any]:
    head_width = self.width // self.num_heads
    longest = self._number("max_position_embeddings", _LONGEST_SOURCE, is_whole=True)
    languages = dict(
      source_language=self._tokenizer.get("source_lang"),
      target_language=self._tokenizer.get("target_lang"),
    )
    return dict(
      num_layers=self.num_layers,
      d_model=self.width,
      d_ff=self.inner_width,
      num_heads=self.num_heads,
      d_k=head_width,
      d_v=head_width,
      dropout_rate=self._number("dropout", 0.1),
      attention_dropout_rate=self._number("attention_dropout", 0.0),
      relu_dropout_rate=self._number("activation_dropout", 0.0),
      activation=_ACTIVATIONS[self._model.get("activation_function", "gelu")],
      layer_norm_epsilon=1e-5,  # torch's; Marian's modules do not change it
      data_source="text",
      tokenizer="marian",
      beam_size=self._number("num_beams", 1, is_whole=True),
      length_penalty=self._number("length_penalty", 1.0),
      length_penalty_form="power",
      max_source_length=min(_LONGEST_SOURCE, longest),
      **{name: code for name, code in languages.items() if isinstance(code, str)},
    )

  def notes(self) -> list[str]:
    """Returns lines on settings of generation that are not taken over."""
    pad = self._model.get("pad_token_id")
    words = self._of_generation("bad_words_ids", None) or []
    if words not in ([], [[pad]]):
      return [
        f"{self._generation_path}: bad_words_ids forbids more than PAD; only PAD is forbidden here"
      ]
    return []

  def _whole(self, name: str) -> int:
    value = self._model.get(name)
    if type(value) is not int or value < 1:
      problem = f"is {json_text(value)}, not a number above 0"
      raise self._refusal(name, problem, "fetch or write it again")
    return value

  def _boolean(self, name: str) -> bool:
    """Returns true unless config.json says otherwise."""
    value = self._model.get(name, True)
    if type(value) is not bool:
      raise self._refusal(name, f"is {json_text(value)}, neither true nor false")
    return value

  def _of_generation(self, name: str, default: Any) -> Any:
    """Returns a setting of generation, which older folders have in config.json."""
    return self._generation.get(name, self._model.get(name, default))

  def _number(self, name: str, default: float, is_whole: bool = False) -> Any:
    """Returns a number of either file; `default`, as transformers has it, if there is none."""
    value = self._of_generation(name, None)
    if value is None:
      return default
    if type(value) is not int and (is_whole or type(value) is not float):
      path = self._generation_path if name in self._generation else self._path
      what = "a whole number" if is_whole else "a number"
      raise ConfigError(f"{path}: {name}", f"is {json_text(value)}, not {what}")
    return value

  def _refusal(self, what: str, problem: str, remedy: str = _NO_REMEDY) -> ConfigError:
    return ConfigError(f"{self._path}: {what}", problem, remedy)


def _read_json(path: pathlib.Path, is_optional: bool = False) -> dict[str, Any]:
  try:
    content = json.loads(path.read_bytes())
    if isinstance(content, dict):
      return content
  except FileNotFoundError:
    if is_optional:
      return {}
    raise ConfigError(path, "is missing", _SAVE_PRETRAINED) from None
  except OSError as error:
    raise ConfigError(path, f"cannot be read: {read_problem(error)}") from None
  except (ValueError, RecursionError):
    pass
  raise ConfigError(path, "is not a JSON object", "fetch or write it again")


def _read_tokenizer(folder: pathlib.Path) -> MarianTokenizer:
  files = {}
  for name in TOKENIZER_FILES:
    try:
      files[name] = (folder / name).read_bytes()
    except OSError as error:
      raise DataError(
        folder / name, f"cannot be read: {read_problem(error)}", "it belongs to the model"
      ) from None
  try:
    return MarianTokenizer(files)
  except DataError as error:  # the error names only the file
    raise DataError(folder / error.where, error.problem, "fetch or write it again") from None


def _no_tensors(folder: pathlib.Path) -> CheckpointError:
  path = folder / TENSORS
  if (folder / "pytorch_model.bin").exists():
    return CheckpointError(
      path,
      "is missing; pytorch_model.bin is a pickle, which may run any code and is not read",
      _SAVE_PRETRAINED,
    )
  return CheckpointError(path, "is missing", _SAVE_PRETRAINED)


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns name -> array, float32; float16 and bfloat16 are widened.

  Raises:
    CheckpointError: the file cannot be read, is damaged, or has an array of another type.
  """
  _, arrays = read_arrays(path)
  for name, array in arrays.items():
    if array.dtype.name not in _FLOATS:
      raise CheckpointError(path, f"{name} is of type {array.dtype}", "write its arrays as float32")
  return {name: array.astype(np.float32) for name, array in arrays.items()}


class _Tensors:
  """The arrays of a file, taken one by one, each in our form."""

  def __init__(self, path: pathlib.Path, settings: _Settings, order: Sequence[int]) -> None:
    self._path = path
    self._settings = settings
    self._rows = list(order)  # Marian's id of each of our ids
    # Marian's place of each of our features.
    self._features = np.argsort(sines_first(settings.width)).tolist()
    self._tensors = read_tensors(path)
    self._taken: set[str] = set()
    self.has_attention_bias = any(
      np.any(tensor) for name, tensor in self._tensors.items() if name.endswith("_proj.bias")
    )
    settings.check_ids(*self._rows[:2])

  @property
  def embedding_sharing(self) -> str:
    """Our setting of that name."""
    if not self._settings.is_tied:
      return "none"
    return "all" if self._settings.is_shared else "target"

  def parameters(self) -> dict[str, Any]:
    """Returns our tree of parameters."""
    self._check_positions()
    params = self._embeddings()
    attentions = dict(encoder=_ENCODER_ATTENTIONS, decoder=_DECODER_ATTENTIONS)
    for stack, names in attentions.items():
      params[stack] = {
        f"layer_{number}": self._layer(f"model.{stack}.layers.{number}", names)
        for number in range(self._settings.num_layers)
      }
    bias_1C = self._take(_OUTPUT_BIAS, (1, len(self._rows)))
    if np.any(bias_1C):
      params["output_bias"] = bias_1C[0, self._rows]
    return params

  def check_all_taken(self) -> None:
    """Raises a CheckpointError that names an array that the model has no place for."""
    left_over = sorted(set(self._tensors) - self._taken)
    if left_over:
      raise CheckpointError(
        self._path,
        f"has {left_over[0]}, which a Marian model does not have"
        + (f", and {len(left_over) - 1} more" if len(left_over) > 1 else ""),
        "import a Marian model",
      )

  def _take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array of the file.

    Raises:
      CheckpointError: it is missing, of another shape, or not finite.
    """
    if name not in self._tensors:
      raise CheckpointError(self._path, f"lacks {name}", _SAVE_PRETRAINED)
    tensor = self._tensors[name]
    if tensor.shape != shape:
      found, expected = (" x ".join(map(str, sizes)) for sizes in (tensor.shape, shape))
      raise CheckpointError(self._path, f"{name} is {found}, but {CONFIG} makes it {expected}")
    if not np.all(np.isfinite(tensor)):
      raise CheckpointError(self._path, f"{name} has numbers that are not finite")
    self._taken.add(name)
    return tensor

  def _embeddings(self) -> dict[str, Any]:
    """Returns the matrices of tokens, each under our name.

    The file has a matrix that several names share under at least one of them.
    """
    settings = self._settings
    if settings.is_tied and settings.is_shared:
      shared = self._matrix(_SHARED, _TARGET, _SOURCE, _OUTPUT)
      self._check_start(shared, _SHARED)
      return {"shared_embedding": {"embedding": shared}}
    shared = (_SHARED,) if settings.is_shared else ()
    source = self._matrix(_SOURCE, *shared)
    target = self._matrix(_TARGET, *shared, *((_OUTPUT,) if settings.is_tied else ()))
    self._check_start(target, _TARGET)
    params = {
      "source_embedding": {"embedding": source},
      "target_embedding": {"embedding": target},
    }
    if not settings.is_tied:
      params["output_projection"] = {"kernel": np.ascontiguousarray(self._matrix(_OUTPUT).T)}
    return params

  def _matrix(self, *names: str) -> np.ndarray:
    """Returns the matrix [C, D] that the file has under one or more of the names.

    Raises:
      CheckpointError: it has none of them, or they differ.
    """
    shape = (len(self._rows), self._settings.width)
    found = [name for name in names if name in self._tensors] or names[:1]
    matrix = self._take(found[0], shape)
    for name in found[1:]:
      if not np.array_equal(self._take(name, shape), matrix):
        raise CheckpointError(
          self._path, f"{name} and {found[0]} differ, but {CONFIG} makes them one matrix"
        )
    return np.ascontiguousarray(matrix[self._rows][:, self._features])

  def _check_start(self, matrix_CD: np.ndarray, name: str) -> None:
    """Refuses a row of PAD that is not 0: Marian's decoder starts from it, ours from zeros."""
    if np.any(matrix_CD[PAD_ID]):
      raise CheckpointError(
        self._path,
        f"{name}: the row of PAD, from which the decoder starts, is not zero",
        _NO_REMEDY,
      )

  def _check_positions(self) -> None:
    """Refuses a table of positions that is not the paper's."""
    width = self._settings.width
    for name in _POSITIONS:
      if name not in self._tensors:
        continue
      table_LD = self._tensors[name]
      expected_LD = sinusoids(len(table_LD), width)
      ours_LD = self._take(name, expected_LD.shape)[:, self._features]
      if not np.allclose(ours_LD, expected_LD, atol=_POSITIONS_TOLERANCE):
        raise CheckpointError(
          self._path, f"{name} is not the paper's table of sinusoids", _NO_REMEDY
        )

  def _layer(self, theirs: str, attentions: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Returns the parameters of a layer."""
    params: dict[str, Any] = {}
    for name, (attention, norm) in attentions.items():
      params[name] = self._attention(f"{theirs}.{attention}")
      params[f"{name}_norm"] = self._norm(f"{theirs}.{norm}")
    width, inner = self._settings.width, self._settings.inner_width
    features = self._features
    inner_FD = self._take(f"{theirs}.fc1.weight", (inner, width))
    outer_DF = self._take(f"{theirs}.fc2.weight", (width, inner))
    params["feed_forward"] = {
      "inner": {
        "kernel": np.ascontiguousarray(inner_FD.T[features]),
        "bias": self._take(f"{theirs}.fc1.bias", (inner,)),
      },
      "outer": {
        "kernel": np.ascontiguousarray(outer_DF.T[:, features]),
        "bias": self._take(f"{theirs}.fc2.bias", (width,))[features],
      },
    }
    params["feed_forward_norm"] = self._norm(f"{theirs}.final_layer_norm")
    return params

  def _attention(self, theirs: str) -> dict[str, Any]:
    """Returns the four products of an attention: kernels [D, H, K] and [H, V, D], and biases."""
    width, heads = self._settings.width, self._settings.num_heads
    split = (heads, width // heads)
    params: dict[str, Any] = {}
    for ours, name in _PROJECTIONS.items():
      weight_IO = self._take(f"{theirs}.{name}.weight", (width, width)).T
      bias_O = self._take(f"{theirs}.{name}.bias", (width,))
      if ours == "out":
        kernel = weight_IO[:, self._features].reshape(*split, width)
        bias = bias_O[self._features]
      else:
        kernel = weight_IO[self._features].reshape(width, *split)
        bias = bias_O.reshape(split)
      params[ours] = {"kernel": np.ascontiguousarray(kernel)}
      if self.has_attention_bias:
        params[ours]["bias"] = bias
    return params

  def _norm(self, theirs: str) -> dict[str, np.ndarray]:
    shape = (self._settings.width,)
    return {
      ours: self._take(f"{theirs}.{name}", shape)[self._features]
      for ours, name in (("scale", "weight"), ("bias", "bias"))
    }
