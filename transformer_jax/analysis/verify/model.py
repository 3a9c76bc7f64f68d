"""Checks that the model does what Section 3 says, on tiny models with random parameters, by effect and by gradient.

A check returns (whether it holds, the figures it saw). Products run at the highest precision, as accelerators
would otherwise round float32 to fewer bits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.attention import KERNELS, Mask, Use
from transformer_jax.config import PAD_ID, Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference import attention
from transformer_jax.reference.transformer import transformer as reference_transformer

_TINY = dict(
  num_layers=2,
  d_model=16,
  d_ff=24,
  num_heads=4,
  d_k=3,
  d_v=5,
  max_positions=256,
  attention_kernel="reference",
)
_VOCABULARY = 13

# Every value of positions, norm and embedding_sharing is in one of these.
VARIANTS = (
  dict(),
  dict(norm="pre", positions="sinusoidal_concatenated", embedding_sharing="target"),
  dict(positions="learned", embedding_sharing="none"),
  dict(norm="pre", positions="none"),
)


def _highest_precision(check):
  @functools.wraps(check)
  def checked():
    with jax.default_matmul_precision("highest"):
      return check()

  return checked


def _tiny_model(**settings):
  """(model, params): random, so that biases and LayerNorm's scales are seen, which start at 0 and 1."""
  model = Transformer(Config().replace(**_TINY, **settings).model, _VOCABULARY, _VOCABULARY)
  tokens = jnp.ones((1, 2), jnp.int32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
  rng = np.random.default_rng(0)
  random = lambda path, x: ((path[-1].key == "scale") + 0.5 * rng.normal(size=x.shape)).astype(
    np.float32
  )
  return model, jax.tree_util.tree_map_with_path(random, shapes)


def _logits(model, params, source_BS, target_BT):
  return np.asarray(
    jax.jit(model.apply)({"params": params}, jnp.array(source_BS), jnp.array(target_BT))
  )


@_highest_precision
def kernels_match_the_loops():
  """Every kernel that can run here, for several h and d_k != d_v, causal, padded and neither."""
  errors = {}
  for name, kernel in KERNELS.items():
    for num_heads, d_k, d_v in ((1, 16, 16), (4, 4, 6), (8, 8, 2)):
      if kernel.why_not(Use(jax.default_backend(), "float32", d_k, d_v)) is None:
        error = _kernel_error(kernel, num_heads, d_k, d_v)
        errors[name] = max(errors.get(name, 0.0), error)
  holds = "reference" in errors and max(errors.values()) < 2e-5
  return holds, ", ".join(f"{name} within {error:.0e}" for name, error in errors.items())


def _kernel_error(kernel, num_heads, d_k, d_v, batch=2, length=7):
  """Largest difference from the loop over heads, examples and masks."""
  rng, error = np.random.default_rng(0), 0.0
  query_BTHK, key_BSHK, value_BSHV = (
    rng.normal(size=(batch, length, num_heads, d)) for d in (d_k, d_k, d_v)
  )
  for mask in (Mask(), Mask(causal=True), Mask(key_lengths_B=jnp.array([7, 3]))):
    ours_BTHV = kernel.attend(
      *(jnp.asarray(x, jnp.float32) for x in (query_BTHK, key_BSHK, value_BSHV)), mask, None
    )
    allowed_BTS = np.broadcast_to(mask.dense(length, length), (batch, length, length))
    for b, h in np.ndindex(batch, num_heads):
      truth_TV = attention.attention(
        query_BTHK[b, :, h], key_BSHK[b, :, h], value_BSHV[b, :, h], allowed_BTS[b]
      )
      error = max(error, np.max(np.abs(np.asarray(ours_BTHV)[b, :, h] - truth_TV)))
  return error


@_highest_precision
def model_matches_the_loops():
  """The whole forward pass of the variants against NumPy, source padding included."""
  source_S, target_T = [3, 8, 4, 9, 1, PAD_ID, PAD_ID], [5, 11, 6, 1]
  errors = []
  for settings in VARIANTS:
    model, params = _tiny_model(**settings)
    truth_TC = reference_transformer(
      params, source_S, target_T, model.config.positions, model.config.norm
    )
    ours_TC = _logits(model, params, [source_S], [target_T])[0]
    errors.append(np.max(np.abs(ours_TC - truth_TC)) / np.max(np.abs(truth_TC)))
  return max(
    errors
  ) < 1e-5, f"{len(errors)} variants, largest relative difference {max(errors):.0e}"


@_highest_precision
def no_gradient_from_the_future():
  """The logits at t have gradients with respect to the embeddings of targets before t, and of no other."""
  # With matrices of their own, the target's embedding is reached through the decoder's input alone.
  model, params = _tiny_model(embedding_sharing="none")
  target_T = jnp.array([[5, 11, 6, 7, 9, 1]])
  direction_C = jnp.asarray(np.random.default_rng(1).normal(size=_VOCABULARY), jnp.float32)

  def outputs_T(table_CD):
    changed = {**params, "target_embedding": {"embedding": table_CD}}
    return model.apply({"params": changed}, jnp.array([[3, 8, 4, 1]]), target_T)[0] @ direction_C

  gradient_TCD = jax.jit(jax.jacrev(outputs_T))(params["target_embedding"]["embedding"])
  # reached_TT[t, s]: how strongly the prediction of target t depends on target s.
  reached_TT = np.linalg.norm(np.asarray(gradient_TCD), axis=-1)[:, np.asarray(target_T[0])]
  past_TT = np.tril(np.ones(reached_TT.shape, bool), -1)
  holds = np.all(reached_TT[past_TT] > 0) and np.all(reached_TT[~past_TT] == 0)
  future, past = reached_TT[~past_TT].max(), reached_TT[past_TT].min()
  return bool(
    holds
  ), f"gradient from own and later targets {future:.1f}, from each earlier one at least {past:.1e}"


@_highest_precision
def padding_has_no_effect():
  """Padding and neighbours in the batch change no logit; a real token in the padding's place does."""
  model, params = _tiny_model()
  source, target = [3, 8, 4, 1], [5, 11, 1]
  alone_TC = _logits(model, params, [source], [target])[0]
  batch = [source + [PAD_ID] * 3, source + [6, 6, 6]], [target + [PAD_ID] * 2, [*target, 9, 2]]
  padded, real = np.max(np.abs(_logits(model, params, *batch)[:, :3] - alone_TC), axis=(1, 2))
  holds = bool(padded < 2e-5 and real > 1e-2)
  return (
    holds,
    f"logits within {padded:.0e}; real tokens instead of padding change them by {real:.1f}",
  )
