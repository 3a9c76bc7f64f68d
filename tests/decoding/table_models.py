"""Random "models" for tests of search: a table of logits over all prefixes for each sentence.

Words are the tokens from 2 up. A prefix is a node of a tree; the search's cache is the node of each
hypothesis, so a search that reorders its cache wrongly reads another prefix' logits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from declared_shapes import assert_as_declared

from transformer_jax.config import EOS_ID, PAD_ID
from transformer_jax.decoding.beam_search import beam_search
from transformer_jax.decoding.greedy import greedy_search
from transformer_jax.decoding.length_penalty import LENGTH_PENALTIES

FIRST_WORD = 2


def random_tables(seed, batch, vocab, depth, eos_bias=0.0):
  """Returns float32 [batch, prefixes of fewer than `depth` words, vocab]."""
  words = vocab - FIRST_WORD
  prefixes = sum(words**d for d in range(depth))
  tables = 1.5 * np.random.default_rng(seed).normal(size=(batch, prefixes, vocab))
  tables[..., EOS_ID] += eos_bias
  return tables.astype(np.float32)


def log_probabilities(table):
  """Returns the model that the reference takes.

  It is a function (prefix as a tuple) -> log-probabilities float64 [C], -inf for PAD.
  """
  table = table.astype(np.float64)
  log_probs = table - np.log(np.exp(table).sum(-1, keepdims=True))
  log_probs[:, PAD_ID] = -np.inf
  words = table.shape[-1] - FIRST_WORD

  def function(prefix):
    node = 0
    for token in prefix:
      node = node * words + token - FIRST_WORD + 1
    return log_probs[node]

  return function


def tokens_to_logits_of(tables_BNC):
  """Returns the tables as a model for `beam_search`.

  Its cache is the node of each hypothesis, int32 [B, M].
  """
  words = tables_BNC.shape[-1] - FIRST_WORD
  prefixes = tables_BNC.shape[1]

  def tokens_to_logits(tokens_BM, position, node_BM):
    child_BM = node_BM * words + tokens_BM - FIRST_WORD + 1
    # A hypothesis that is dead, or of a sentence that is over, may be nowhere in the tree.
    node_BM = jnp.where(position == 0, 0, jnp.clip(child_BM, 0, prefixes - 1))
    return jnp.take_along_axis(tables_BNC, node_BM[..., None], axis=1), node_BM

  return tokens_to_logits


@functools.partial(
  jax.jit,
  static_argnames=("beam_size", "max_length", "form", "greedy", "num_best", "early_stopping"),
)
def search(  # noqa: PLR0913  the settings of a search
  tables_BNC,
  max_lengths_B,
  min_lengths_B,
  alpha,
  *,
  beam_size,
  max_length,
  form="gnmt",
  greedy=False,
  num_best=None,
  early_stopping="exact",
):
  """Returns the SearchResult of beam search, or greedy search, over the tables."""
  batch = tables_BNC.shape[0]
  shared = dict(
    batch_size=batch,
    max_length=max_length,
    max_lengths_B=max_lengths_B,
    min_lengths_B=min_lengths_B,
    penalty=lambda length: LENGTH_PENALTIES[form](length, alpha),
  )
  if greedy:
    return greedy_search(
      tokens_to_logits_of(tables_BNC), jnp.zeros((batch, 1), jnp.int32), **shared
    )
  return beam_search(
    tokens_to_logits_of(tables_BNC),
    jnp.zeros((batch, beam_size), jnp.int32),
    beam_size=beam_size,
    num_best=num_best,
    early_stopping=early_stopping,
    **shared,
  )


def run_search(
  tables, max_lengths=None, min_lengths=None, alpha=0.6, *, beam_size, max_length, **options
):
  """Returns `search` as numpy arrays; by default every limit is `max_length`, without minimum."""
  full = np.full(len(tables), max_length, np.int32)
  max_lengths = full if max_lengths is None else np.asarray(max_lengths, np.int32)
  min_lengths = np.zeros_like(full) if min_lengths is None else np.asarray(min_lengths, np.int32)
  options.update(beam_size=beam_size, max_length=max_length)
  result = search(tables, max_lengths, min_lengths, float(alpha), **options)
  assert_as_declared(result)
  return jax.device_get(result)


def n_best(result, row):
  """Returns [(tokens, score, is finished)] of one sentence, the empty slots left out."""
  outputs = []
  for slot, length in enumerate(result.lengths_BM[row]):
    if not length:
      continue
    tokens = tuple(result.tokens_BMT[row, slot, :length].tolist())
    score = float(result.scores_BM[row, slot])
    outputs.append((tokens, score, bool(result.is_finished_BM[row, slot])))
  return outputs
