"""Decoding as the settings ask for it, on all devices."""

import numpy as np

from transformer_jax import parallel
from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.constrained import BracketRules, constrain
from transformer_jax.decoding.generate import generate
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES


def make_search(model, decode, max_length=None, brackets=None, num_best=None):
  """A function (params, source_BS, max_lengths_B[, min_lengths_B[, gates[, num_words_B]]]) -> SearchResult, for one device.

  `max_length` is the room for output tokens; by default the source's padded length + `decode.max_extra_length`. `brackets` is what
  each token does in a tree, for a constrained search. `num_best` outputs are searched for, by default as many as the beam holds.
  """
  rules = BracketRules.of(brackets) if decode.constrained else None
  penalty = lambda lengths: LENGTH_PENALTIES[decode.length_penalty_form](
    lengths, decode.length_penalty
  )

  def search(params, source_BS, max_lengths_B, min_lengths_B=None, gates=None, num_words_B=None):
    room = max_length or source_BS.shape[1] + decode.max_extra_length
    if model.config.positions == "learned":
      room = min(room, model.config.max_positions)
    variables = {"params": params}
    memory, cache = model.apply(variables, source_BS, decode.beam_size, room, gates, method="start")

    def tokens_to_logits(tokens_BM, position, cache):
      return model.apply(variables, tokens_BM, position, cache, memory, gates, method="step")

    shared = dict(
      batch_size=source_BS.shape[0],
      max_length=room,
      max_lengths_B=max_lengths_B,
      penalty=penalty,
      min_lengths_B=min_lengths_B,
    )
    reorder = lambda cache, parents_BM: cache.reorder(parents_BM)
    if rules:
      tokens_to_logits, cache, reorder = constrain(
        tokens_to_logits, cache, reorder, rules, decode.beam_size, room, max_lengths_B, num_words_B
      )
    if decode.beam_size == 1:
      return greedy_search(tokens_to_logits, cache, **shared)
    return beam_search(
      tokens_to_logits,
      cache,
      beam_size=decode.beam_size,
      reorder=reorder,
      num_best=num_best,
      **shared,
    )

  return search


def make_decode_batch(model, decode, brackets=None, num_best=1):
  """A function (replicated params[, replicated HeadGates]) -> decode_batch(source_BS, max_lengths_B, num_words_B) -> SearchResult of numpy
  arrays, of `num_best` outputs a sentence."""
  search = parallel.on_devices(make_search(model, decode, brackets=brackets, num_best=num_best))

  def with_params(params, gates=None):

    def decode_batch(source_BS, max_lengths_B, num_words_B):
      source, max_lengths, num_words = map(
        parallel.shard_rows, (source_BS, max_lengths_B, num_words_B)
      )
      result = search(params, source, max_lengths, None, gates, num_words)
      return parallel.gather_rows(result, source_BS.shape[0])

    return decode_batch

  return with_params


def answer_sources(sources, decode_batch, decode, **options):
  """`generate` with the decoding settings, on all devices."""
  return generate(
    sources,
    decode_batch,
    batch_tokens=decode.decode_batch_tokens,
    max_extra_length=decode.max_extra_length,
    beam_size=decode.beam_size,
    row_multiple=parallel.num_devices(),
    **options,
  )


def longest_source(config):
  """Source tokens, EOS included, that the model can take in when it translates."""
  limit = config.decode.max_source_length
  return min(limit, config.model.max_positions) if config.model.positions == "learned" else limit


def cut(tokens, limit):
  """`tokens` as they are, or their first `limit` - 1 with EOS after them."""
  return tokens if len(tokens) <= limit else [*tokens[: limit - 1], EOS_ID]


def pad(sequences, rows, width):
  """int32 [rows, width] of token sequences, filled up with PAD."""
  padded = np.full((rows, width), PAD_ID, np.int32)
  for row, sequence in zip(padded, sequences):
    row[: len(sequence)] = sequence
  return padded
