"""Builds the task and the model that the settings name."""

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.attention import KERNELS, Use
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.errors import ConfigError
from transformer_jax.model.transformer import Transformer
from transformer_jax.tasks.parsing import ParsingTask
from transformer_jax.tasks.translation import TranslationTask


def build_task(data, tokenizer):
  """The task of a DataConfig with its tokenizer."""
  if data.task == "parsing":
    return ParsingTask(data, tokenizer)
  return TranslationTask(data, tokenizer, *build_preprocessors(data))


def why_not_kernel(model):
  """Why the kernel that a ModelConfig names cannot serve it on this machine; None if it can."""
  use = Use(
    parallel.backend(),
    model.dtype,
    model.d_k,
    model.d_v,
    attention_dropout=model.attention_dropout_rate > 0,
  )
  return KERNELS[model.attention_kernel].why_not(use)


def check_kernel(config):
  """Refuses a kernel that cannot serve this model on this machine.

  Raises:
    ConfigError: the reason.
  """
  if reason := why_not_kernel(config.model):
    raise ConfigError(f"--attention_kernel={config.model.attention_kernel}", reason, "or use auto")


def build_model(config, task):
  """The Linen module. A kernel that this machine lacks is replaced: a run trained elsewhere can be read here."""
  if why_not_kernel(config.model):
    config = config.replace(attention_kernel="auto")
  return Transformer(config.model, task.source_vocab_size, task.target_vocab_size)


def parameter_shapes(model):
  """The parameters as shapes and dtypes, without memory for them."""
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  return jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
