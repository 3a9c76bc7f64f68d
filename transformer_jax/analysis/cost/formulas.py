"""What a model costs, by closed formulas: parameters, floating-point operations, and the paper's training cost.

Here a multiplication and an addition are two operations (FLOP). Lengths are in tokens.
"""

import math

from transformer_jax.config import PAPER_TOKENS_PER_UPDATE

PAPER_VOCABULARY = 37_000  # Section 5.1

PARTS = (
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

# Sustained single-precision FLOP per second that the paper assumes of a GPU (Section 6.1, footnote 5).
PAPER_FLOPS = {"K80": 2.8e12, "K40": 3.7e12, "M40": 6.0e12, "P100": 9.5e12}


def attention_parameters(model):
  """W^Q, W^K, W^V of all heads and W^O, without biases: 2 d h d_k + 2 d h d_v (Section 3.2.2)."""
  return 2 * model.d_model * model.num_heads * (model.d_k + model.d_v)


def feed_forward_parameters(model):
  """W1, b1, W2, b2: 2 d d_ff + d_ff + d (Section 3.3)."""
  return 2 * model.d_model * model.d_ff + model.d_ff + model.d_model


def parameter_counts(model, source_vocab_size, target_vocab_size):
  """Parameters of each of PARTS, as a dict; their sum is the model's size.

  Args:
    model: ModelConfig.
    source_vocab_size, target_vocab_size: symbols; one matrix, so one number, with embedding_sharing "all".
  """
  n, d = model.num_layers, model.d_model
  norm = 2 * d  # scale and bias
  final_norm = norm if model.norm == "pre" else 0
  shared = model.embedding_sharing == "all"
  return dict(
    zip(
      PARTS,
      (
        d * (source_vocab_size if shared else source_vocab_size + target_vocab_size),
        d * target_vocab_size if model.embedding_sharing == "none" else 0,
        2 * model.max_positions * d if model.positions == "learned" else 0,
        n * attention_parameters(model),
        n * feed_forward_parameters(model),
        n * 2 * norm + final_norm,
        n * attention_parameters(model),
        n * attention_parameters(model),
        n * feed_forward_parameters(model),
        n * 3 * norm + final_norm,
      ),
      strict=True,
    )
  )


def counted_parameters(params):
  """The same dict, counted in the parameter tree of a model (arrays or their shapes).

  Raises:
    KeyError: a leaf that belongs to none of PARTS.
  """
  counts = dict.fromkeys(PARTS, 0)
  for path, leaf in _leaves(params):
    counts[_part(path)] += math.prod(leaf.shape)
  return counts


def _leaves(tree, path=()):
  if not hasattr(tree, "items"):
    yield path, tree
    return
  for name, subtree in tree.items():
    yield from _leaves(subtree, (*path, name))


def _part(path):
  """Which of PARTS the leaf at `path` belongs to."""
  top = path[0]
  if top.endswith("_embedding"):
    return "embeddings"
  if top.endswith("_positions"):
    return "positions"
  if top == "output_projection":
    return top
  sublayer = path[1] if path[1] == "final_norm" else path[2]
  if sublayer.endswith("norm"):
    return f"{top}_norms"
  return (
    "encoder_attention" if (top, sublayer) == ("encoder", "self_attention") else f"{top}_{sublayer}"
  )


def attention_terms(model, num_queries, num_keys):
  """What one multi-head attention sub-layer computes, forward, for one sentence (Section 3.2.2): term -> (formula, count).

  Counts are multiplications with an addition; of the softmax, exponentials. In the formulas n is the length and d is
  d_model. With h d_k = h d_v = d the softmax is the only term that h is left in.
  """
  d, keys, values, pairs = (
    model.d_model,
    model.num_heads * model.d_k,
    model.num_heads * model.d_v,
    num_queries * num_keys,
  )
  return {
    "query projection": ("n d (h d_k)", num_queries * d * keys),
    "key projection": ("n d (h d_k)", num_keys * d * keys),
    "value projection": ("n d (h d_v)", num_keys * d * values),
    "scores": ("n^2 (h d_k)", pairs * keys),
    "softmax": ("n^2 h", pairs * model.num_heads),
    "weighted sum": ("n^2 (h d_v)", pairs * values),
    "output projection": ("n (h d_v) d", num_queries * values * d),
  }


def attention_flops(model, num_queries, num_keys):
  """FLOP of that sub-layer's matrix products; what the softmax costs and what a mask saves are left out.

  With h d_k = h d_v = d_model it does not depend on h.
  """
  return 2 * sum(
    count
    for term, (_, count) in attention_terms(model, num_queries, num_keys).items()
    if term != "softmax"
  )


def training_flops_per_token(model, target_vocab_size, source_length, target_length):
  """FLOP of training on one token: (per source token, per target token), forward and backward.

  6 for each parameter that the token passes (2 forward, 4 backward), the logits, and attention's two products
  over sentences of these lengths. The keys and values of the attention to the source are computed on its side.
  """
  n, widths = model.num_layers, model.num_heads * (model.d_k + model.d_v)
  counts = parameter_counts(model, target_vocab_size, target_vocab_size)
  source_side = model.d_model * widths * n  # W^K and W^V of the decoder's attention over the source
  encoder = sum(count for part, count in counts.items() if part.startswith("encoder"))
  decoder = sum(count for part, count in counts.items() if part.startswith("decoder"))
  per_source = 6 * (encoder + source_side) + 6 * n * source_length * widths
  per_target = 6 * (decoder - source_side + model.d_model * target_vocab_size)
  per_target += 6 * n * (target_length + source_length) * widths
  return per_source, per_target


def update_flops(
  model, target_vocab_size, source_tokens, target_tokens, source_length, target_length
):
  """FLOP of one update on so many tokens in sentences of these lengths."""
  per_source, per_target = training_flops_per_token(
    model, target_vocab_size, source_length, target_length
  )
  return source_tokens * per_source + target_tokens * per_target


def paper_training_cost(seconds, num_gpus, gpu="P100"):
  """Training cost as Table 2 has it: time x GPUs x the sustained FLOP per second of the GPU (Section 6.1).

  It is what the hardware could have done in that time, not what the model needed: see `update_flops`.
  """
  return seconds * num_gpus * PAPER_FLOPS[gpu]


def paper_model_flops(config):
  """FLOP of a configuration's whole training on updates of 25,000 + 25,000 tokens (Section 5.1), in sentences of 28."""
  tokens = PAPER_TOKENS_PER_UPDATE
  return config.train.train_steps * update_flops(
    config.model, PAPER_VOCABULARY, tokens, tokens, 28, 28
  )


def training_seconds(metrics):
  """Time of a run's updates, evaluations and checkpoints apart, from its lines of metrics (dicts).

  A line stands for the updates since the line before it, those of an earlier start among them, at
  the speed that it measured.
  """
  seconds, before = 0.0, 0
  for line in metrics:
    if line["split"] == "train" and line["updates_per_second"]:
      seconds += (line["step"] - before) / line["updates_per_second"]
      before = line["step"]
  return seconds


def _log(base, x):
  return math.log(x) / math.log(base)


# Table 1, without constants: layer -> (operations per layer, sequential operations, longest path), functions of
# n (length), d (width), k (kernel width), r (neighbourhood).
TABLE_1 = {
  "self-attention": (lambda n, d, k, r: n * n * d, lambda n, d, k, r: 1, lambda n, d, k, r: 1),
  "recurrent": (lambda n, d, k, r: n * d * d, lambda n, d, k, r: n, lambda n, d, k, r: n),
  "convolutional": (
    lambda n, d, k, r: k * n * d * d,
    lambda n, d, k, r: 1,
    lambda n, d, k, r: _log(k, n),
  ),
  "restricted self-attention": (
    lambda n, d, k, r: r * n * d,
    lambda n, d, k, r: 1,
    lambda n, d, k, r: n / r,
  ),
  "separable convolutional": (
    lambda n, d, k, r: k * n * d + n * d * d,
    lambda n, d, k, r: 1,
    lambda n, d, k, r: _log(k, n),
  ),
}
