"""Builds the task and the model that the settings describe."""

from typing import Any

import jax
import numpy as np

from transformer_jax import parallel
from transformer_jax.attention import KERNELS, Use
from transformer_jax.config import Config, DataConfig, ModelConfig
from transformer_jax.data.preprocessing import build_preprocessors
from transformer_jax.errors import ConfigError
from transformer_jax.model.transformer import Transformer
from transformer_jax.tasks.parsing import ParsingTask
from transformer_jax.tasks.task import Task
from transformer_jax.tasks.translation import TranslationTask


def build_task(data: DataConfig, tokenizer: Any) -> Task:
  """Returns the task that the data settings describe, with its tokenizer."""
  if data.task == "parsing":
    return ParsingTask(data, tokenizer)
  source_preprocessor, target_preprocessor = build_preprocessors(data)
  return TranslationTask(data, tokenizer, source_preprocessor, target_preprocessor)


def why_not_kernel(model: ModelConfig) -> str | None:
  """Returns why the model's attention kernel cannot be used on this machine; None if it can."""
  use = Use(
    parallel.backend(),
    model.dtype,
    model.d_k,
    model.d_v,
    attention_dropout=model.attention_dropout_rate > 0,
  )
  return KERNELS[model.attention_kernel].why_not(use)


def check_kernel(config: Config) -> None:
  """Refuses an attention kernel that cannot be used for this model on this machine.

  Raises:
    ConfigError: gives the reason.
  """
  if reason := why_not_kernel(config.model):
    raise ConfigError(f"--attention_kernel={config.model.attention_kernel}", reason, "or use auto")


def build_model(config: Config, task: Task) -> Transformer:
  """Returns the Linen module.

  A kernel that cannot run here is replaced, so that runs of other machines can be loaded.
  """
  if why_not_kernel(config.model):
    config = config.replace(attention_kernel="auto")
  marks = task.word_marks() if config.model.positions == "words" else (b"", b"")
  return Transformer(config.model, task.source_vocab_size, task.target_vocab_size, marks)


def parameter_shapes(model: Transformer) -> Any:
  """Returns the parameters as shapes and dtypes, without allocating them."""
  tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
  return jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
