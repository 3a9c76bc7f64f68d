"""Models with random parameters, of any form: their tokenizer is given."""

import jax
import numpy as np

from transformer_jax.decoding.generate import Source, generate
from transformer_jax.runs.build import build_model, build_task, parameter_shapes
from transformer_jax.runs.trained_model import TrainedModel

LINES = [
  "forty two",
  "six hundred seven",
  "nine",
  "one hundred one",
  "three hundred forty two and six",
  "NINE ninety-nine",
  "x y z ß \N{GRINNING FACE}",
  "  two   spaces ",
  "the cat sat on the mat",
  "eighty five",
]


def random_model(config, pieces, seed=0, **settings):
  """Returns a TrainedModel whose every parameter is random, norms and biases too.

  `pieces` is its tokenizer.
  """
  config = config.replace(**settings)
  task = build_task(config.data, pieces)
  model = build_model(config, task)
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = jax.tree_util.keystr(path)
    values = rng.standard_normal(leaf.shape) * (0.3 if "bias" in name else 1.0)
    if "scale" in name:
      values = 1 + values / 4
    elif leaf.ndim > 1:
      values *= config.model.d_model**-0.5
    return values.astype(np.float32)

  params = jax.tree_util.tree_map_with_path(draw, parameter_shapes(model))
  return TrainedModel(config, task, model, params, [40])


def hypotheses(model, lines, num_best=1):
  """Returns the best Hypothesis for each line, as tokens, of the model's own search."""
  decode = model.config.decode
  sources = [Source(model.task.encode_source(line)) for line in lines]
  found = generate(
    sources,
    model._search(num_best),
    batch_tokens=decode.decode_batch_tokens,
    max_extra_length=decode.max_extra_length,
    num_best=num_best,
  )
  return [n_best[0] for n_best in found]


def is_as_good(model, line, ours, theirs, tolerance):
  """Returns whether a greedy search might as well have found `theirs`.

  The two are compared as far as both go: a limit on the length may have cut one of them. Where they
  first differ, the two tokens must be equally probable.
  """
  length = min(len(ours), len(theirs))
  different = [i for i in range(length) if ours[i] != theirs[i]]
  if not different:
    return True
  source = model.task.encode_source(line)
  pairs = [(source, tokens[: different[0] + 1]) for tokens in (ours, theirs)]
  (first, _), (second, _) = model.encoded_log_probs(pairs)
  return abs(first - second) < tolerance
