"""Hyperparameters of the model."""

import dataclasses

from transformer_jax.config.setting import setting


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The model of Section 3. h, d_k and d_v are independent of d_model (Table 3, rows A and B)."""

  num_layers: int = setting(
    6, "N, number of layers in the encoder and in the decoder (Section 3.1)", low=1, high=1000
  )

  d_model: int = setting(
    512, "width of every sub-layer's output (Section 3.1)", low=2, high=1 << 16
  )

  d_ff: int = setting(
    2048, "inner width of the feed-forward networks (Section 3.3)", low=1, high=1 << 20
  )

  num_heads: int = setting(8, "h, number of attention heads (Section 3.2.2)", low=1, high=1 << 12)

  d_k: int = setting(64, "width of a head's queries and keys", low=1, high=1 << 16)

  d_v: int = setting(64, "width of a head's values", low=1, high=1 << 16)

  dropout_rate: float = setting(
    0.1,
    "P_drop, for sub-layer outputs and for embeddings plus positions (Section 5.4)",
    low=0.0,
    high=0.99,
  )

  attention_dropout_rate: float = setting(
    0.0, "dropout rate of attention weights; not in the paper's text", low=0.0, high=0.99
  )

  relu_dropout_rate: float = setting(
    0.0,
    "dropout rate inside the feed-forward networks; not in the paper's text",
    low=0.0,
    high=0.99,
  )

  positions: str = setting(
    "sinusoidal",
    "positional encoding: the paper's interleaved sinusoids, the authors' code's layout "
    "(all sines, then all cosines), a learned table (Table 3, row E), none, or words: for parsing, "
    "half of the sinusoids are of the token, the other half of the word that it belongs to",
    choices=("sinusoidal", "sinusoidal_concatenated", "learned", "none", "words"),
  )

  # No `only_for`: the base of an ablation table sets it for the row that has learned positions.
  max_positions: int = setting(1024, "rows of a learned position table", low=1, high=1 << 20)

  norm: str = setting(
    "post",
    "LayerNorm after each residual sum, as in the paper, or before each sub-layer",
    choices=("post", "pre"),
  )

  embedding_sharing: str = setting(
    "all",
    "which of source embedding, target embedding and output projection share one matrix: "
    "all three (Section 3.4), the two of the target, or none",
    choices=("all", "target", "none"),
  )

  activation: str = setting(
    "relu",
    "activation of the feed-forward networks: relu is the paper's, max(0, x); swish is "
    "x sigmoid(x); gelu is x times the normal distribution's cumulative probability of x",
    choices=("relu", "swish", "gelu"),
    added_later=True,
  )

  attention_bias: bool = setting(
    False,
    "add a bias to queries, keys, values and joined heads; the paper has none",
    added_later=True,
  )

  attention_init: str = setting(
    "separate",
    "initial scale of the projections to queries, keys and values: Xavier's for three matrices, or "
    "for one fused matrix of their columns, smaller by the square root of 2 if their widths are "
    "d_model",
    choices=("separate", "fused"),
    added_later=True,
  )

  output_bias: bool = setting(
    False, "add a bias to the scores before the softmax; the paper has none", added_later=True
  )

  layer_norm_epsilon: float = setting(
    1e-6, "epsilon that LayerNorm adds to the variance", low=1e-12, high=1.0, added_later=True
  )

  attention_kernel: str = setting(
    "auto",
    "how attention is computed; auto picks from a table of measurements",
    choices=("auto", "reference", "blocked", "xla", "cudnn", "fused"),
  )

  rematerialize: bool = setting(
    False,
    "recompute a layer's activations in the backward pass instead of keeping them: slower, but "
    "needs less memory on an accelerator; on a CPU, XLA undoes it",
    added_later=True,
  )

  dtype: str = setting(
    "float32",
    "dtype of activations; parameters, softmax, LayerNorm and loss stay float32",
    choices=("float32", "bfloat16"),
  )
