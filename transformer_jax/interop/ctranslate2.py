"""Writes a translation run as a CTranslate2 model, with any heads, norm and positions.

The tests compare log-probabilities, which are equal up to float32's rounding. Where CTranslate2
differs, the parameters are rewritten:

- It has one width of heads, and divides by its square root. If d_k and d_v differ, the narrower is
  padded with zeros, and the queries are scaled.
- Its own table of positions has another layout, so ours is written.
- Its decoder starts from zeros if told so. PAD's row then stays as it was trained, with its share
  of the softmax.
"""

import importlib
import pathlib
from typing import Any, NamedTuple

import numpy as np

from transformer_jax.config import ModelConfig
from transformer_jax.files import atomic_write
from transformer_jax.interop.parameters import (
  NUM_POSITIONS,
  Parameters,
  into_heads,
  out_of_heads,
  widened,
)
from transformer_jax.model.positions import sinusoids
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.tasks.translation import TranslationTask


class _Projection(NamedTuple):
  """A matrix [out, in] and its bias, if there is one."""

  weight: np.ndarray
  bias: np.ndarray | None


def write(model: TrainedModel, folder: pathlib.Path, quantization: str = "none") -> None:
  """Writes the model and its tokenizer's files into a folder that exists.

  Args:
    model: a translation run.
    folder: where the files go.
    quantization: how matrices are stored, by CTranslate2's name; or "none".
  """
  task = model.task
  assert isinstance(task, TranslationTask)
  spec = make_spec(model.config.model, model.params)
  pieces = task.tokenizer.pieces(range(task.tokenizer.vocab_size))
  spec.register_source_vocabulary(pieces)
  spec.register_target_vocabulary(pieces)
  spec.config.layer_norm_epsilon = model.config.model.layer_norm_epsilon
  spec.config.add_source_eos = True
  spec.config.add_source_bos = False
  spec.config.bos_token = spec.config.eos_token = spec.config.decoder_start_token = "</s>"
  spec.config.unk_token = "<unk>"
  spec.validate()
  spec.optimize(None if quantization == "none" else quantization)
  spec.save(str(folder))
  for name, content in task.tokenizer.files().items():
    atomic_write(folder / name, content)


def make_spec(config: ModelConfig, params: Any) -> Any:
  """Returns the TransformerSpec of a model, with its weights and without a vocabulary."""

  # Imported by name, since it need not be installed.
  specs: Any = importlib.import_module("ctranslate2.specs.transformer_spec")
  width = max(config.d_k, config.d_v)
  settings: dict[str, Any] = dict(
    pre_norm=config.norm == "pre",
    activation=specs.common_spec.Activation[config.activation.upper()],
    head_dim=None if config.num_heads * width == config.d_model else width,
  )
  sizes = (config.num_layers, config.num_heads)
  encoder = specs.TransformerEncoderSpec(*sizes, **settings)
  decoder = specs.TransformerDecoderSpec(*sizes, **settings)
  decoder.start_from_zero_embedding = True
  parameters = Parameters(params)
  _set_embeddings(encoder, decoder, config, parameters)
  for side, stack, name in (("source", encoder, "encoder"), ("target", decoder, "decoder")):
    stack.position_encodings.encodings = _positions(config, parameters, side)
    for number, layer in enumerate(stack.layer):
      _set_layer(layer, parameters, f"{name}.layer_{number}", width)
    if config.norm == "pre":
      _set_norm(stack.layer_norm, parameters, f"{name}.final_norm")
  parameters.check_all_taken()
  return specs.TransformerSpec(encoder, decoder)


def _set_embeddings(
  encoder: Any, decoder: Any, config: ModelConfig, parameters: Parameters
) -> None:
  source, target, output = parameters.take_embeddings(config.embedding_sharing)
  encoder.embeddings[0].weight = source
  decoder.embeddings.weight = target
  decoder.projection.weight = output
  _set_bias(decoder.projection, parameters.take_if_there("output_bias"))


def _positions(config: ModelConfig, parameters: Parameters, side: str) -> np.ndarray:
  """Returns the table of positions of one side, [length, D]."""
  if config.positions == "none":
    return np.zeros((NUM_POSITIONS, config.d_model), np.float32)
  if config.positions != "learned":
    return sinusoids(NUM_POSITIONS, config.d_model, config.positions)
  table_LD = parameters.take(f"{side}_positions.embedding") * np.float32(config.d_model**0.5)
  return np.pad(table_LD, ((0, max(0, NUM_POSITIONS - len(table_LD))), (0, 0)))


def _set_layer(layer: Any, parameters: Parameters, name: str, width: int) -> None:
  query, key, value, out = _attention(parameters, f"{name}.self_attention", width)
  _set_linear(layer.self_attention.linear[0], query, key, value)
  _set_linear(layer.self_attention.linear[1], out)
  _set_norm(layer.self_attention.layer_norm, parameters, f"{name}.self_attention_norm")
  if name.startswith("decoder"):
    query, key, value, out = _attention(parameters, f"{name}.cross_attention", width)
    _set_linear(layer.attention.linear[0], query)
    _set_linear(layer.attention.linear[1], key, value)
    _set_linear(layer.attention.linear[2], out)
    _set_norm(layer.attention.layer_norm, parameters, f"{name}.cross_attention_norm")
  for linear, ours in ((layer.ffn.linear_0, "inner"), (layer.ffn.linear_1, "outer")):
    linear.weight = parameters.take(f"{name}.feed_forward.{ours}.kernel").T
    linear.bias = parameters.take(f"{name}.feed_forward.{ours}.bias")
  _set_norm(layer.ffn.layer_norm, parameters, f"{name}.feed_forward_norm")


def _attention(parameters: Parameters, name: str, width: int) -> list[_Projection]:
  """Returns the projections query, key, value and out, with heads of `width` numbers."""
  projections = []
  for part in ("query", "key", "value"):
    kernel_DHK = parameters.take(f"{name}.{part}.kernel")
    bias_HK = parameters.take_if_there(f"{name}.{part}.bias")
    if part == "query":
      # CTranslate2 divides by the root of `width`, not by that of d_k.
      scale = np.float32((width / kernel_DHK.shape[-1]) ** 0.5)
      kernel_DHK = kernel_DHK * scale
      bias_HK = None if bias_HK is None else bias_HK * scale
    bias = None if bias_HK is None else widened(bias_HK, width, axis=1).reshape(-1)
    projections.append(_Projection(into_heads(widened(kernel_DHK, width, axis=2)), bias))
  out_HVD = widened(parameters.take(f"{name}.out.kernel"), width, axis=1)
  out = _Projection(out_of_heads(out_HVD), parameters.take_if_there(f"{name}.out.bias"))
  return [*projections, out]


def _set_linear(linear: Any, *projections: _Projection) -> None:
  """Sets a product to several projections of the same vectors, stacked."""
  linear.weight = np.concatenate([projection.weight for projection in projections])
  biases = [projection.bias for projection in projections if projection.bias is not None]
  _set_bias(linear, np.concatenate(biases) if biases else None)


def _set_bias(linear: Any, bias: np.ndarray | None) -> None:
  if bias is not None:
    linear.bias = bias


def _set_norm(norm: Any, parameters: Parameters, name: str) -> None:
  norm.gamma = parameters.take(f"{name}.scale")
  norm.beta = parameters.take(f"{name}.bias")
