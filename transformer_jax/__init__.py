"""transformer_jax: "Attention Is All You Need" (Vaswani et al. 2017) in JAX.

Array names end in their axes: B batch, T target or query length, S source or key length, H heads,
K d_k, V d_v, D d_model, F d_ff, C vocabulary, M beams. So `query_BTHK` has the shape
[batch, length, heads, d_k].

    model = transformer_jax.load("runs/quickstart")     # a trained run
    model.translate(["forty two"])                      # ["zweiundvierzig"]
    model.attention("forty two")["cross"]               # weights [layers, heads, T, S]

Importing this package loads no jax; `load` does.
"""

import os
from typing import TYPE_CHECKING, Any

from transformer_jax.moved import serve_old_names

if TYPE_CHECKING:
  from transformer_jax.runs.trained_model import TrainedModel

__version__ = "0.3.0"

serve_old_names()


def load(
  workdir: "str | os.PathLike[str]", checkpoint: int | str = "last", **settings: Any
) -> "TrainedModel":
  """Loads a trained model, to translate or parse with it and to look inside.

  Args:
    workdir: folder of a run; or of a model that `export --format=safetensors` or `huggingface`
      wrote; or of a Marian model (OPUS-MT) that `save_pretrained` wrote.
    checkpoint: of a run: "last", "best" (by its validation score), or a step.
    **settings: decoding settings that override the model's, such as beam_size=1. A run has
      average_last=5, too.

  Example:
    model = transformer_jax.load("runs/quickstart", checkpoint="best", beam_size=1)
    model.translate(["forty two", "six"])
  """
  from transformer_jax.interop.folders import load_model

  return load_model(workdir, checkpoint, **settings)
