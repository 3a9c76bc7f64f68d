"""Writes a run as a Hugging Face folder: a MarianMTModel with its tokenizer, as OPUS-MT has them.

Marian computes its own table of positions, with the paper's frequencies, but all sines before all
cosines. So the D features of every array are put into that order, which changes no result. Its ids
are ours minus 1, with PAD last, which converters of Marian models rely on.
"""

import pathlib
from typing import Any

import numpy as np

from transformer_jax.config import PAD_ID, Config
from transformer_jax.files import atomic_write
from transformer_jax.interop.parameters import (
  NUM_POSITIONS,
  Parameters,
  into_heads,
  out_of_heads,
  sines_first,
)
from transformer_jax.interop.safetensors import write_arrays
from transformer_jax.runs.trained_model import TrainedModel
from transformer_jax.strict_json import json_text
from transformer_jax.tasks.translation import TranslationTask

_NEVER = np.float32(-1e4)  # PAD's logit, if its row had to become zero
_LONGEST_OUTPUT = 512


def write(model: TrainedModel, folder: pathlib.Path, is_untied: bool = False) -> None:
  """Writes the model and its tokenizer into a folder that exists.

  Args:
    model: a translation run that `checks.check` lets pass.
    folder: where the files go.
    is_untied: write the embeddings and the output matrix separately. PAD then keeps its share of
      the softmax, so scores are exact too.
  """
  task = model.task
  assert isinstance(task, TranslationTask)
  pieces = reordered(task.tokenizer.pieces(range(task.tokenizer.vocab_size)))
  arrays = make_arrays(model.config, model.params, is_untied)
  write_arrays(folder / "model.safetensors", arrays, {"format": "pt"})
  files = task.tokenizer.files()
  for name in ("source.spm", "target.spm"):  # an imported model has these two
    atomic_write(folder / name, files.get(name) or files["sentencepiece.model"])
  vocabulary = {piece: number for number, piece in enumerate(pieces)}
  for name, content in {
    "config.json": model_config(model.config, len(pieces), is_untied),
    "generation_config.json": generation_config(model.config, len(pieces)),
    "tokenizer_config.json": tokenizer_config(model.config),
    "vocab.json": vocabulary,
  }.items():
    atomic_write(folder / name, json_text(content, indent=2, ensure_ascii=False) + "\n")


def reordered(rows: Any) -> Any:
  """Returns rows of the vocabulary in the order of Marian's ids: PAD is the last."""
  if isinstance(rows, list):
    return [*rows[PAD_ID + 1 :], rows[PAD_ID]]
  return np.concatenate([rows[PAD_ID + 1 :], rows[PAD_ID : PAD_ID + 1]])


def make_arrays(config: Config, params: Any, is_untied: bool = False) -> dict[str, np.ndarray]:
  """Returns the tensors of a MarianMTModel by their names."""
  parameters = Parameters(params)
  order_D = sines_first(config.model.d_model)
  arrays = _embeddings(config.model.embedding_sharing, parameters, order_D, is_untied)
  for stack in ("encoder", "decoder"):
    for number in range(config.model.num_layers):
      ours, theirs = f"{stack}.layer_{number}", f"model.{stack}.layers.{number}"
      arrays |= _attention(parameters, f"{ours}.self_attention", f"{theirs}.self_attn", order_D)
      if stack == "decoder":
        name = f"{ours}.cross_attention"
        arrays |= _attention(parameters, name, f"{theirs}.encoder_attn", order_D)
      arrays |= _feed_forward(parameters, f"{ours}.feed_forward", theirs, order_D)
  parameters.check_all_taken()
  return arrays


def _embeddings(
  sharing: str, parameters: Parameters, order_D: np.ndarray, is_untied: bool
) -> dict[str, np.ndarray]:
  """Returns the embeddings, the output matrix if it is a separate one, and the output's bias."""
  source, target, output = (
    reordered(matrix[:, order_D]) for matrix in parameters.take_embeddings(sharing)
  )
  bias = np.zeros((1, len(output)), np.float32)
  own_bias = parameters.take_if_there("output_bias")
  if own_bias is not None:
    bias[0] = reordered(own_bias)
  source[-1] = target[-1] = 0  # PAD, from which the decoder starts
  embeddings = {"model.encoder.embed_tokens.weight": source}
  embeddings["model.decoder.embed_tokens.weight"] = target
  if sharing == "all":
    shared = {"model.shared.weight": target}
    embeddings = shared | embeddings if is_untied else shared
  if sharing == "none" or is_untied:
    embeddings["lm_head.weight"] = output
  elif output[-1].any():  # an imported model has zeros there already
    bias[0, -1] = _NEVER
  return embeddings | {"final_logits_bias": bias}


def _attention(
  parameters: Parameters, ours: str, theirs: str, order_D: np.ndarray
) -> dict[str, np.ndarray]:
  arrays = {}
  for part, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
    matrix = into_heads(parameters.take(f"{ours}.{part}.kernel"))[:, order_D]
    arrays[f"{theirs}.{name}.weight"] = matrix
    bias = parameters.take_if_there(f"{ours}.{part}.bias")
    zeros = np.zeros(len(matrix), np.float32)
    arrays[f"{theirs}.{name}.bias"] = zeros if bias is None else bias.reshape(-1)
  arrays[f"{theirs}.out_proj.weight"] = out_of_heads(parameters.take(f"{ours}.out.kernel"))[order_D]
  bias = parameters.take_if_there(f"{ours}.out.bias")
  zeros = np.zeros(len(order_D), np.float32)
  arrays[f"{theirs}.out_proj.bias"] = zeros if bias is None else bias[order_D]
  return arrays | _norm(parameters, f"{ours}_norm", f"{theirs}_layer_norm", order_D)


def _feed_forward(
  parameters: Parameters, ours: str, theirs: str, order_D: np.ndarray
) -> dict[str, np.ndarray]:
  arrays = {
    f"{theirs}.fc1.weight": parameters.take(f"{ours}.inner.kernel").T[:, order_D],
    f"{theirs}.fc1.bias": parameters.take(f"{ours}.inner.bias"),
    f"{theirs}.fc2.weight": parameters.take(f"{ours}.outer.kernel").T[order_D],
    f"{theirs}.fc2.bias": parameters.take(f"{ours}.outer.bias")[order_D],
  }
  return arrays | _norm(parameters, f"{ours}_norm", f"{theirs}.final_layer_norm", order_D)


def _norm(
  parameters: Parameters, ours: str, theirs: str, order_D: np.ndarray
) -> dict[str, np.ndarray]:
  return {
    f"{theirs}.weight": parameters.take(f"{ours}.scale")[order_D],
    f"{theirs}.bias": parameters.take(f"{ours}.bias")[order_D],
  }


def model_config(config: Config, vocab_size: int, is_untied: bool) -> dict[str, Any]:
  """Returns config.json."""
  model = config.model
  stacks = {}
  for stack in ("encoder", "decoder"):
    stacks[f"{stack}_layers"] = model.num_layers
    stacks[f"{stack}_ffn_dim"] = model.d_ff
    stacks[f"{stack}_attention_heads"] = model.num_heads
  return dict(
    architectures=["MarianMTModel"],
    model_type="marian",
    vocab_size=vocab_size,
    decoder_vocab_size=vocab_size,
    d_model=model.d_model,
    **stacks,
    activation_function=model.activation,
    dropout=model.dropout_rate,
    attention_dropout=model.attention_dropout_rate,
    activation_dropout=model.relu_dropout_rate,
    scale_embedding=True,
    static_position_embeddings=True,
    normalize_before=False,
    normalize_embedding=False,
    share_encoder_decoder_embeddings=model.embedding_sharing == "all",
    tie_word_embeddings=model.embedding_sharing != "none" and not is_untied,
    max_position_embeddings=NUM_POSITIONS,
    pad_token_id=vocab_size - 1,
    decoder_start_token_id=vocab_size - 1,
    eos_token_id=0,
    bos_token_id=None,
    forced_eos_token_id=None,
    is_encoder_decoder=True,
    dtype="float32",
  )


def generation_config(config: Config, vocab_size: int) -> dict[str, Any]:
  """Returns generation_config.json: the run's search, as far as `generate` can do it."""
  decode = config.decode
  beam = {}
  if decode.beam_size > 1:
    early_stopping = "never" if decode.early_stopping == "exact" else True
    beam = dict(length_penalty=decode.length_penalty, early_stopping=early_stopping)
  return dict(
    num_beams=decode.beam_size,
    **beam,
    max_length=_LONGEST_OUTPUT,
    bad_words_ids=[[vocab_size - 1]],
    pad_token_id=vocab_size - 1,
    decoder_start_token_id=vocab_size - 1,
    eos_token_id=0,
  )


def tokenizer_config(config: Config) -> dict[str, Any]:
  """Returns tokenizer_config.json."""
  return dict(
    tokenizer_class="MarianTokenizer",
    source_lang=config.data.source_language,
    target_lang=config.data.target_language,
    unk_token="<unk>",
    eos_token="</s>",
    pad_token="<pad>",
    model_max_length=min(NUM_POSITIONS, config.decode.max_source_length),
    separate_vocabs=False,
    clean_up_tokenization_spaces=False,
    split_special_tokens=True,  # so that "</s>" in a text stays text
  )
