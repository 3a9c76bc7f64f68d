"""The Transformer (Section 3, Figure 1): tokens in, logits out; whole targets, or one position at a time."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from transformer_jax.attention import Mask, sequence_lengths
from transformer_jax.config import PAD_ID, ModelConfig
from transformer_jax.model.cache import empty_cache
from transformer_jax.model.decoder import Decoder
from transformer_jax.model.dropout import dropout
from transformer_jax.model.embedding import Embedding, OutputProjection, Positions
from transformer_jax.model.encoder import Encoder


class Transformer(nn.Module):
  """Encoder, decoder, embeddings. Token arrays are int32, padded at the end with PAD, which nothing attends to."""

  config: ModelConfig
  source_vocab_size: int
  target_vocab_size: int

  def setup(self):
    cfg, dtype = self.config, self.dtype
    embedding = lambda size: Embedding(size, cfg.d_model, dtype)
    if cfg.embedding_sharing == "all":
      if self.source_vocab_size != self.target_vocab_size:
        raise ValueError("--embedding_sharing=all needs one vocabulary for both sides")
      self.shared_embedding = embedding(self.source_vocab_size)
    else:
      self.source_embedding = embedding(self.source_vocab_size)
      self.target_embedding = embedding(self.target_vocab_size)
      if cfg.embedding_sharing == "none":
        self.output_projection = OutputProjection(self.target_vocab_size, cfg.d_model, dtype)
    self.source_positions = Positions(cfg)
    self.target_positions = Positions(cfg)
    self.encoder = Encoder(cfg, dtype)
    self.decoder = Decoder(cfg, dtype)

  @property
  def dtype(self):
    """Dtype of activations."""
    return jnp.dtype(self.config.dtype)

  def __call__(self, source_BS, target_BT, deterministic=True, gates=None):
    """Logits of every target position given the source and the targets before it, float32 [B, T, C].

    `target_BT` is what is to be predicted; the shift to the right (Section 3.1) is done here.
    Without `deterministic`, an rng named "dropout" is needed. `gates` are factors of the heads' outputs (HeadGates).
    """
    memory_BSD = self.encode(source_BS, deterministic, gates)
    return self.logits(self.decode(source_BS, memory_BSD, target_BT, deterministic, gates))

  def before_logits(self, source_BS, target_BT, deterministic=True, gates=None):
    """What the logits of `__call__` are products of: (the decoder's output [B, T, D], the pre-softmax matrix float32 [C, D])."""
    memory_BSD = self.encode(source_BS, deterministic, gates)
    return self.decode(
      source_BS, memory_BSD, target_BT, deterministic, gates
    ), self._output_projection.matrix()

  def encode(self, source_BS, deterministic=True, gates=None):
    """The encoder's output, [B, S, D]."""
    return self._encode(source_BS, deterministic, False, gates)[0]

  def decode(self, source_BS, memory_BSD, target_BT, deterministic=True, gates=None):
    """The decoder's output for a whole target, [B, T, D]."""
    return self._decode(source_BS, memory_BSD, target_BT, deterministic, False, gates)[0]

  def attention_weights(self, source_BS, target_BT):
    """All attention weights for a forced target: dict of float32 arrays.

    Returns:
      "encoder" [N, B, H, S, S], "decoder" [N, B, H, T, T], "cross" [N, B, H, T, S]; row t of the decoder's belongs
      to the position that predicts target t.
    """
    memory_BSD, encoder = self._encode(source_BS, True, True)
    _, decoder = self._decode(source_BS, memory_BSD, target_BT, True, True)
    return dict(
      encoder=jnp.stack(encoder),
      decoder=jnp.stack([own for own, _ in decoder]),
      cross=jnp.stack([cross for _, cross in decoder]),
    )

  def start(self, source_BS, beam_size, max_length, gates=None):
    """Encodes and makes ready to decode: (Memory, an empty Cache for `max_length` positions)."""
    memory = self.decoder.project_memory(
      self.encode(source_BS, gates=gates), sequence_lengths(source_BS, PAD_ID)
    )
    return memory, empty_cache(self.config, self.dtype, source_BS.shape[0], beam_size, max_length)

  def step(self, tokens_BM, position, cache, memory, gates=None):
    """Logits of the next token of M hypotheses a sentence, float32 [B, M, C], and the cache.

    `tokens_BM` are the tokens at `position` - 1 (PAD at position 0); `position` may be traced.
    """
    table_LD = self.target_positions(cache.ancestry_BML.shape[-1])
    here_1D = lax.dynamic_slice_in_dim(table_LD, position, 1)
    x_BMD = self._target_embedding(tokens_BM) + here_1D.astype(self.dtype)
    x_BMD, cache = self.decoder.step(x_BMD, position, cache, memory, gates)
    return self.logits(x_BMD), cache

  def logits(self, outputs):
    """Scores before the softmax, float32 [..., C]."""
    return self._output_projection.logits(outputs)

  @property
  def _output_projection(self):
    return (
      self.output_projection if self.config.embedding_sharing == "none" else self._target_embedding
    )

  @property
  def _source_embedding(self):
    return (
      self.shared_embedding if self.config.embedding_sharing == "all" else self.source_embedding
    )

  @property
  def _target_embedding(self):
    return (
      self.shared_embedding if self.config.embedding_sharing == "all" else self.target_embedding
    )

  def _embed(self, embedding, positions, tokens_BT, deterministic):
    """Embeddings plus positions, with dropout on the sum (Section 5.4)."""
    x_BTD = embedding(tokens_BT) + positions(tokens_BT.shape[1]).astype(self.dtype)
    return dropout(self, x_BTD, self.config.dropout_rate, deterministic)

  def _encode(self, source_BS, deterministic, return_weights, gates=None):
    x_BSD = self._embed(self._source_embedding, self.source_positions, source_BS, deterministic)
    return self.encoder(
      x_BSD,
      Mask(key_lengths_B=sequence_lengths(source_BS, PAD_ID)),
      deterministic,
      return_weights,
      None if gates is None else gates.encoder,
    )

  def _decode(self, source_BS, memory_BSD, target_BT, deterministic, return_weights, gates=None):
    previous_BT = jnp.pad(target_BT, ((0, 0), (1, 0)), constant_values=PAD_ID)[:, :-1]
    x_BTD = self._embed(self._target_embedding, self.target_positions, previous_BT, deterministic)
    # Causality alone keeps the padding at a target's end from being seen by its tokens.
    return self.decoder(
      x_BTD,
      memory_BSD,
      Mask(causal=True),
      Mask(key_lengths_B=sequence_lengths(source_BS, PAD_ID)),
      deterministic,
      return_weights,
      gates,
    )
