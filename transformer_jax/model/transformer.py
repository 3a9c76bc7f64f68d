"""The Transformer (Section 3, Figure 1): tokens in, logits out.

It takes whole targets, or one position at a time.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32

from transformer_jax.attention import Mask, sequence_lengths
from transformer_jax.config import PAD_ID, ModelConfig
from transformer_jax.model.cache import Cache, Memory, Position, empty_cache
from transformer_jax.model.decoder import Decoder, LayerWeights
from transformer_jax.model.dropout import dropout
from transformer_jax.model.embedding import AnyArray, Embedding, OutputProjection, Positions
from transformer_jax.model.encoder import Encoder
from transformer_jax.model.head_gates import HeadGates


class Transformer(nn.Module):
  """Encoder, decoder and embeddings.

  Tokens are int32, padded at the end with PAD, which nothing attends to. `word_marks` are those of
  source and target, for `positions="words"` (`Positions`).

  Example:
    model = Transformer(config.model, source_vocab_size=8000, target_vocab_size=8000)
    params = model.init(jax.random.key(0), source_BS, target_BT)["params"]
    logits_BTC = model.apply({"params": params}, source_BS, target_BT)
  """

  config: ModelConfig
  source_vocab_size: int
  target_vocab_size: int
  word_marks: tuple[bytes, bytes] = (b"", b"")

  def setup(self) -> None:
    cfg = self.config
    if cfg.embedding_sharing == "all":
      if self.source_vocab_size != self.target_vocab_size:
        raise ValueError("--embedding_sharing=all needs one vocabulary for both sides")
      self.shared_embedding = Embedding(self.source_vocab_size, cfg.d_model, self.dtype)
    else:
      self.source_embedding = Embedding(self.source_vocab_size, cfg.d_model, self.dtype)
      self.target_embedding = Embedding(self.target_vocab_size, cfg.d_model, self.dtype)
      if cfg.embedding_sharing == "none":
        self.output_projection = OutputProjection(self.target_vocab_size, cfg.d_model, self.dtype)
    # None: the logits are only the product, as in the paper.
    self.bias_C = None
    if cfg.output_bias:
      self.bias_C = self.param(
        "output_bias", nn.initializers.zeros, (self.target_vocab_size,), jnp.float32
      )
    source_marks, target_marks = self.word_marks
    vocab_sizes = self.source_vocab_size, self.target_vocab_size
    if cfg.positions == "words" and (len(source_marks), len(target_marks)) != vocab_sizes:
      raise ValueError("--positions=words needs a mark for each token of both vocabularies")
    self.source_positions = Positions(cfg, source_marks)
    self.target_positions = Positions(cfg, target_marks)
    self.encoder = Encoder(cfg, self.dtype)
    self.decoder = Decoder(cfg, self.dtype)

  @property
  def dtype(self) -> jnp.dtype:
    """Dtype of activations."""
    return jnp.dtype(self.config.dtype)

  def __call__(
    self,
    source_BS: Int32[AnyArray, "B S"],
    target_BT: Int32[AnyArray, "B T"],
    deterministic: bool = True,
    gates: HeadGates | None = None,
  ) -> Float32[Array, "B T C"]:
    """Returns the logits of every target position given the source and the targets before it.

    Args:
      source_BS: source tokens.
      target_BT: the tokens to be predicted; the shift to the right (Section 3.1) is done here.
      deterministic: no dropout; else an rng named "dropout" is needed.
      gates: factors of the heads' outputs.
    """
    memory_BSD = self.encode(source_BS, deterministic, gates)
    return self.logits(self.decode(source_BS, memory_BSD, target_BT, deterministic, gates))

  def before_logits(
    self,
    source_BS: Int32[AnyArray, "B S"],
    target_BT: Int32[AnyArray, "B T"],
    deterministic: bool = True,
    gates: HeadGates | None = None,
  ) -> tuple[Float[Array, "B T D"], Float32[AnyArray, "C D"], Float32[AnyArray, " C"] | None]:
    """Returns (the decoder's output, the pre-softmax matrix, its bias or None).

    The logits are the product of the first two, plus the bias.
    """
    memory_BSD = self.encode(source_BS, deterministic, gates)
    outputs_BTD = self.decode(source_BS, memory_BSD, target_BT, deterministic, gates)
    return outputs_BTD, self._output_projection.matrix(), self.bias_C

  def encode(
    self,
    source_BS: Int32[AnyArray, "B S"],
    deterministic: bool = True,
    gates: HeadGates | None = None,
  ) -> Float[Array, "B S D"]:
    """Returns the encoder's output."""
    return self._encode(source_BS, deterministic, False, gates)[0]

  def decode(
    self,
    source_BS: Int32[AnyArray, "B S"],
    memory_BSD: Float[Array, "B S D"],
    target_BT: Int32[AnyArray, "B T"],
    deterministic: bool = True,
    gates: HeadGates | None = None,
  ) -> Float[Array, "B T D"]:
    """Returns the decoder's output for a whole target."""
    return self._decode(source_BS, memory_BSD, target_BT, deterministic, False, gates)[0]

  def attention_weights(
    self,
    source_BS: Int32[AnyArray, "B S"],
    target_BT: Int32[AnyArray, "B T"],
    gates: HeadGates | None = None,
  ) -> dict[str, Float32[Array, "N B H _ _"]]:
    """Returns all attention weights for a forced target.

    A head that `gates` close still has weights, which change nothing.

    Returns:
      "encoder" [N, B, H, S, S], "decoder" [N, B, H, T, T], "cross" [N, B, H, T, S]. Row t of the
      last two belongs to the position that predicts target t.
    """
    memory_BSD, encoder = self._encode(source_BS, True, True, gates)
    _, decoder = self._decode(source_BS, memory_BSD, target_BT, True, True, gates)
    stack = lambda layers: jnp.stack(list(layers))
    own, cross = zip(*decoder, strict=True)
    return dict(encoder=stack(encoder), decoder=stack(own), cross=stack(cross))

  def start(
    self,
    source_BS: Int32[AnyArray, "B S"],
    beam_size: int,
    max_length: int,
    gates: HeadGates | None = None,
  ) -> tuple[Memory, Cache]:
    """Encodes; returns what decoding needs: the memory, and an empty cache for `max_length`."""
    memory_BSD = self.encode(source_BS, gates=gates)
    memory = self.decoder.project_memory(memory_BSD, sequence_lengths(source_BS, PAD_ID))
    batch = source_BS.shape[0]
    return memory, empty_cache(self.config, self.dtype, batch, beam_size, max_length)

  def step(
    self,
    tokens_BM: Int32[AnyArray, "B M"],
    position: Position,
    cache: Cache,
    memory: Memory,
    gates: HeadGates | None = None,
  ) -> tuple[Float32[Array, "B M C"], Cache]:
    """Returns the logits of the next token of M hypotheses per sentence, and the cache.

    `tokens_BM` are the tokens at `position` - 1 (PAD at position 0); `position` may be traced.
    """
    length = cache.ancestry_BML.shape[-1]
    here, words_BM = self.target_positions.step(tokens_BM, position, length, cache.words_BM)
    x_BMD = self._target_embedding(tokens_BM) + here.astype(self.dtype)
    cache = cache.replace(words_BM=words_BM)
    x_BMD, cache = self.decoder.step(x_BMD, position, cache, memory, gates)
    return self.logits(x_BMD), cache

  def logits(self, outputs: Float[Array, "*B D"]) -> Float32[Array, "*B C"]:
    """Returns the scores before the softmax."""
    logits = self._output_projection.logits(outputs)
    return logits if self.bias_C is None else logits + self.bias_C

  @property
  def _output_projection(self) -> Embedding | OutputProjection:
    if self.config.embedding_sharing == "none":
      return self.output_projection
    return self._target_embedding

  @property
  def _source_embedding(self) -> Embedding:
    if self.config.embedding_sharing == "all":
      return self.shared_embedding
    return self.source_embedding

  @property
  def _target_embedding(self) -> Embedding:
    if self.config.embedding_sharing == "all":
      return self.shared_embedding
    return self.target_embedding

  def _embed(
    self,
    embedding: Embedding,
    positions: Positions,
    tokens_BT: Int32[AnyArray, "B T"],
    deterministic: bool,
  ) -> Float[Array, "B T D"]:
    """Returns embeddings plus positions, with dropout on the sum (Section 5.4)."""
    x_BTD = embedding(tokens_BT) + positions(tokens_BT).astype(self.dtype)
    return dropout(self, x_BTD, self.config.dropout_rate, deterministic)

  def _encode(
    self,
    source_BS: Int32[AnyArray, "B S"],
    deterministic: bool,
    return_weights: bool,
    gates: HeadGates | None = None,
  ) -> tuple[Float[Array, "B S D"], list[Float32[Array, "B H S S"] | None]]:
    """Returns (memory, the attention weights of each layer or Nones)."""
    x_BSD = self._embed(self._source_embedding, self.source_positions, source_BS, deterministic)
    mask = Mask(key_lengths_B=sequence_lengths(source_BS, PAD_ID))
    gates_NH = None if gates is None else gates.encoder
    return self.encoder(x_BSD, mask, deterministic, return_weights, gates_NH)

  def _decode(
    self,
    source_BS: Int32[AnyArray, "B S"],
    memory_BSD: Float[Array, "B S D"],
    target_BT: Int32[AnyArray, "B T"],
    deterministic: bool,
    return_weights: bool,
    gates: HeadGates | None = None,
  ) -> tuple[Float[Array, "B T D"], list[LayerWeights]]:
    """Returns (outputs, the attention weights of each layer or Nones)."""
    previous_BT = jnp.pad(target_BT, ((0, 0), (1, 0)), constant_values=PAD_ID)[:, :-1]
    x_BTD = self._embed(self._target_embedding, self.target_positions, previous_BT, deterministic)
    # No mask for the target's padding: causality hides what is after a token.
    own_mask = Mask(causal=True)
    memory_mask = Mask(key_lengths_B=sequence_lengths(source_BS, PAD_ID))
    return self.decoder(
      x_BTD, memory_BSD, own_mask, memory_mask, deterministic, return_weights, gates
    )
