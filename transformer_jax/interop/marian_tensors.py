"""Takes the arrays of a Marian model, each in our form.

Marian's table of positions has all sines before all cosines, and ours interleaves them. So the D
features of every array are put into our order, which changes no result. Marian's matrices are
[out, in], ours [in, out].
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transformer_jax.config import PAD_ID
from transformer_jax.errors import CheckpointError
from transformer_jax.interop.marian_settings import (
  CONFIG,
  NO_REMEDY,
  SAVE_PRETRAINED,
  MarianSettings,
)
from transformer_jax.interop.parameters import sines_first
from transformer_jax.interop.safetensors import read_arrays
from transformer_jax.model.positions import sinusoids

# Names of the table of positions. transformers can compute it, so a file may lack it.
_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
_POSITIONS_TOLERANCE = 2e-3  # tolerance for a table in float16
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


class MarianTensors:
  """The arrays of a file, taken one by one, each in our form."""

  def __init__(self, path: pathlib.Path, settings: MarianSettings, order: Sequence[int]) -> None:
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
      raise CheckpointError(self._path, f"lacks {name}", SAVE_PRETRAINED)
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
        NO_REMEDY,
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
          self._path, f"{name} is not the paper's table of sinusoids", NO_REMEDY
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
