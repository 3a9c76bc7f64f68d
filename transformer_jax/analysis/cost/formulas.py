"""Closed formulas for the cost of a model: parameters, floating-point operations, training cost.

A multiplication and an addition count as two operations (FLOP). Lengths are in tokens.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from transformer_jax.config import PAPER_TOKENS_PER_UPDATE, Config, ModelConfig

PAPER_VOCABULARY = 37_000  # Section 5.1
_PAPER_SENTENCE_LENGTH = 28  # tokens; assumed, since the paper does not say

PARTS: tuple[str, ...] = (
  "embeddings",
  "output_projection",
  "positions",
  "encoder_attention",
  "encoder_feed_forward",
  "encoder_norms",
  "decoder_self_attention",
  "decoder_cross_attention",
  "decoder_feed_forward",
  "decoder_norms",
)

# Sustained single-precision FLOP per second that the paper assumes of a GPU (Section 6.1,
# footnote 5).
PAPER_FLOPS = {"K80": 2.8e12, "K40": 3.7e12, "M40": 6.0e12, "P100": 9.5e12}


def attention_parameters(model: ModelConfig) -> int:
  """Returns the size of W^Q, W^K, W^V of all heads and W^O: 2 d h d_k + 2 d h d_v (Section 3.2.2).

  The paper has no biases here; those of `attention_bias` are counted.
  """
  biases = model.num_heads * (2 * model.d_k + model.d_v) + model.d_model
  products = 2 * model.d_model * model.num_heads * (model.d_k + model.d_v)
  return products + (biases if model.attention_bias else 0)


def feed_forward_parameters(model: ModelConfig) -> int:
  """Returns the size of W1, b1, W2, b2: 2 d d_ff + d_ff + d (Section 3.3)."""
  return 2 * model.d_model * model.d_ff + model.d_ff + model.d_model


def parameter_counts(
  model: ModelConfig, source_vocab_size: int, target_vocab_size: int
) -> dict[str, int]:
  """Returns the parameters of each of PARTS; their sum is the model's size.

  Args:
    model: sizes and choices of the model.
    source_vocab_size, target_vocab_size: symbols. With `embedding_sharing` "all" both sides have
      one matrix, and the two numbers are the same.
  """
  d = model.d_model
  attention = model.num_layers * attention_parameters(model)
  feed_forward = model.num_layers * feed_forward_parameters(model)
  norm = 2 * d  # scale and bias
  final_norm = norm if model.norm == "pre" else 0
  embedded = source_vocab_size
  if model.embedding_sharing != "all":
    embedded += target_vocab_size
  output_projection = target_vocab_size * d if model.embedding_sharing == "none" else 0
  output_bias = target_vocab_size if model.output_bias else 0
  return {
    "embeddings": embedded * d,
    "output_projection": output_projection + output_bias,
    "positions": 2 * model.max_positions * d if model.positions == "learned" else 0,
    "encoder_attention": attention,
    "encoder_feed_forward": feed_forward,
    "encoder_norms": model.num_layers * 2 * norm + final_norm,
    "decoder_self_attention": attention,
    "decoder_cross_attention": attention,
    "decoder_feed_forward": feed_forward,
    "decoder_norms": model.num_layers * 3 * norm + final_norm,
  }


def counted_parameters(params: Mapping[str, Any]) -> dict[str, int]:
  """Returns the same dict, counted in a model's tree of parameters (arrays or their shapes).

  Raises:
    KeyError: a leaf belongs to none of PARTS.
  """
  counts = dict.fromkeys(PARTS, 0)
  for path, leaf in _leaves(params):
    counts[_part(path)] += math.prod(leaf.shape)
  return counts


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
  """Yields (path, leaf) of a tree of dicts."""
  if not hasattr(tree, "items"):
    yield path, tree
    return
  for name, subtree in tree.items():
    yield from _leaves(subtree, (*path, name))


def _part(path: tuple[str, ...]) -> str:
  """Returns the part, one of PARTS, that the leaf at `path` belongs to."""
  top = path[0]
  if top.endswith("_embedding"):
    return "embeddings"
  if top.endswith("_positions"):
    return "positions"
  if top in ("output_projection", "output_bias"):
    return "output_projection"
  sublayer = path[1] if path[1] == "final_norm" else path[2]
  if sublayer.endswith("norm"):
    return f"{top}_norms"
  if (top, sublayer) == ("encoder", "self_attention"):
    return "encoder_attention"
  return f"{top}_{sublayer}"


@dataclasses.dataclass(frozen=True)
class Term:
  """A step of attention: how it grows, and its count for given sizes."""

  formula: str  # n is the length, d is d_model
  count: int


def attention_terms(model: ModelConfig, num_queries: int, num_keys: int) -> dict[str, Term]:
  """Returns the steps of multi-head attention, forward, for one sentence (Section 3.2.2).

  Each step has the number of its multiplications, each of which comes with an addition; the softmax
  has its number of exponentials. With h d_k = h d_v = d, only the softmax depends on h.
  """
  d = model.d_model
  keys = model.num_heads * model.d_k
  values = model.num_heads * model.d_v
  pairs = num_queries * num_keys
  return {
    "query projection": Term("n d (h d_k)", num_queries * d * keys),
    "key projection": Term("n d (h d_k)", num_keys * d * keys),
    "value projection": Term("n d (h d_v)", num_keys * d * values),
    "scores": Term("n^2 (h d_k)", pairs * keys),
    "softmax": Term("n^2 h", pairs * model.num_heads),
    "weighted sum": Term("n^2 (h d_v)", pairs * values),
    "output projection": Term("n (h d_v) d", num_queries * values * d),
  }


def attention_products(terms: Mapping[str, Term]) -> int:
  """Returns the multiplications of all the matrix products among `attention_terms`."""
  return sum(term.count for name, term in terms.items() if name != "softmax")


def attention_flops(model: ModelConfig, num_queries: int, num_keys: int) -> int:
  """Returns the FLOP of that sub-layer's matrix products.

  The softmax is left out, and so is what a mask saves. With h d_k = h d_v = d_model the result does
  not depend on h.
  """
  return 2 * attention_products(attention_terms(model, num_queries, num_keys))


def training_flops_per_token(
  model: ModelConfig, target_vocab_size: int, source_length: int, target_length: int
) -> tuple[int, int]:
  """Returns the FLOP of training on a token, forward and backward: (per source, per target token).

  A token costs 6 FLOP for each parameter that it passes (2 forward, 4 backward), and for each
  multiplication in the logits and in attention's two products over sentences of these lengths. The
  keys and values of the decoder's attention to the source are computed per source token.
  """
  n = model.num_layers
  widths = model.num_heads * (model.d_k + model.d_v)
  counts = parameter_counts(model, target_vocab_size, target_vocab_size)
  source_side = model.d_model * widths * n  # W^K and W^V of the decoder's attention over the source
  encoder = sum(count for part, count in counts.items() if part.startswith("encoder"))
  decoder = sum(count for part, count in counts.items() if part.startswith("decoder"))
  per_source = 6 * (encoder + source_side)
  per_source += 6 * n * source_length * widths
  per_target = 6 * (decoder - source_side + model.d_model * target_vocab_size)
  per_target += 6 * n * (target_length + source_length) * widths
  return per_source, per_target


def update_flops(
  model: ModelConfig,
  target_vocab_size: int,
  source_tokens: int,
  target_tokens: int,
  source_length: int,
  target_length: int,
) -> int:
  """Returns the FLOP of one update on this many tokens, in sentences of these lengths."""
  per_source, per_target = training_flops_per_token(
    model, target_vocab_size, source_length, target_length
  )
  return source_tokens * per_source + target_tokens * per_target


def paper_training_cost(seconds: float, num_gpus: int, gpu: str = "P100") -> float:
  """Returns a training cost as in Table 2: time x GPUs x sustained FLOP per second (Section 6.1).

  It is the number that the hardware could have computed in that time; `update_flops` is what the
  model needs.
  """
  return seconds * num_gpus * PAPER_FLOPS[gpu]


def paper_model_flops(config: Config) -> int:
  """Returns the FLOP of a whole training run on updates of 25,000 + 25,000 tokens (Section 5.1).

  The sentences are assumed to have 28 tokens.
  """
  length = _PAPER_SENTENCE_LENGTH
  tokens = PAPER_TOKENS_PER_UPDATE
  one = update_flops(config.model, PAPER_VOCABULARY, tokens, tokens, length, length)
  return config.train.train_steps * one


def training_seconds(metrics: Iterable[Mapping[str, Any]]) -> float:
  """Returns the time of a run's updates, without evaluations and checkpoints.

  Args:
    metrics: the run's lines of metrics. A line stands for all updates since the line before it, at
      the speed that it measured; some of them may have been made by an earlier start.
  """
  seconds = 0.0
  last_step = 0
  for line in metrics:
    if line["split"] == "train" and line["updates_per_second"]:
      seconds += (line["step"] - last_step) / line["updates_per_second"]
      last_step = line["step"]
  return seconds


class Complexity(NamedTuple):
  """A row of Table 1, without constants."""

  operations: float  # per layer
  sequential_operations: float
  longest_path: float


def table_1(n: int, d: int, k: int, r: int) -> dict[str, Complexity]:
  """Returns Table 1 and Section 4's separable convolution: layer -> Complexity.

  Args:
    n: length.
    d: width.
    k: width of a convolution's kernel, above 1.
    r: size of the neighborhood in restricted self-attention.
  """
  convolutional_path = math.log(n) / math.log(k)
  return {
    "self-attention": Complexity(n * n * d, 1, 1),
    "recurrent": Complexity(n * d * d, n, n),
    "convolutional": Complexity(k * n * d * d, 1, convolutional_path),
    "restricted self-attention": Complexity(r * n * d, 1, n / r),
    "separable convolutional": Complexity(k * n * d + n * d * d, 1, convolutional_path),
  }
