"""Checks that the model does what Section 3 says, by effect and by gradient.

The models are tiny and have random parameters. A check returns (whether it holds, the figures that
it saw). Matrix products run at the highest precision, since accelerators would otherwise round
float32 to fewer bits.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from transformer_jax.attention import KERNELS, Mask, Use
from transformer_jax.attention.kernels import Kernel
from transformer_jax.config import PAD_ID, Config
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference.attention import attention as reference_attention
from transformer_jax.reference.transformer import transformer as reference_transformer

Check = Callable[[], tuple[bool, str]]

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

# Each value of positions, norm and embedding_sharing occurs in one of these.
VARIANTS = (
  dict(),
  dict(norm="pre", positions="sinusoidal_concatenated", embedding_sharing="target"),
  dict(positions="learned", embedding_sharing="none"),
  dict(norm="pre", positions="none"),
)


def _highest_precision(check: Check) -> Check:
  """Wraps a check, so that matrix products run at the highest precision."""

  @functools.wraps(check)
  def checked():
    with jax.default_matmul_precision("highest"):
      return check()

  return checked


def _tiny_model(**settings: Any) -> tuple[Transformer, Any]:
  """Returns (model, random parameters).

  Biases and LayerNorm's scales are random too: their initial 0 and 1 would hide an error with them.
  """
  model = Transformer(Config().replace(**_TINY, **settings).model, _VOCABULARY, _VOCABULARY)
  tokens = jnp.ones((1, 2), jnp.int32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
  rng = np.random.default_rng(0)

  def random(path, shape):
    is_scale = path[-1].key == "scale"
    values = is_scale + 0.5 * rng.normal(size=shape.shape)
    return values.astype(np.float32)

  return model, jax.tree_util.tree_map_with_path(random, shapes)


def _logits(
  model: Transformer,
  params: Any,
  source_BS: Sequence[Sequence[int]],
  target_BT: Sequence[Sequence[int]],
) -> Float[np.ndarray, "B T C"]:
  apply = jax.jit(model.apply)
  return np.asarray(apply({"params": params}, jnp.array(source_BS), jnp.array(target_BT)))


@_highest_precision
def kernels_match_the_loops() -> tuple[bool, str]:
  """Checks each kernel that can run here, for several h and d_k != d_v, under several masks."""
  errors: dict[str, float] = {}
  for name, kernel in KERNELS.items():
    for num_heads, d_k, d_v in ((1, 16, 16), (4, 4, 6), (8, 8, 2)):
      if kernel.why_not(Use(jax.default_backend(), "float32", d_k, d_v)) is None:
        error = _kernel_error(kernel, num_heads, d_k, d_v)
        errors[name] = max(errors.get(name, 0.0), error)
  holds = "reference" in errors and max(errors.values()) < 2e-5
  return holds, ", ".join(f"{name} within {error:.0e}" for name, error in errors.items())


def _kernel_error(
  kernel: Kernel, num_heads: int, d_k: int, d_v: int, batch: int = 2, length: int = 7
) -> float:
  """Returns the largest difference from the loop over all heads, examples and masks."""
  rng = np.random.default_rng(0)
  query_BTHK, key_BSHK, value_BSHV = (
    rng.normal(size=(batch, length, num_heads, d)) for d in (d_k, d_k, d_v)
  )
  error = 0.0
  for mask in (Mask(), Mask(causal=True), Mask(key_lengths_B=jnp.array([7, 3]))):
    ours_BTHV = kernel.attend(
      jnp.asarray(query_BTHK, jnp.float32),
      jnp.asarray(key_BSHK, jnp.float32),
      jnp.asarray(value_BSHV, jnp.float32),
      mask,
      None,
    )
    allowed_BTS = np.broadcast_to(mask.dense(length, length), (batch, length, length))
    for b, h in np.ndindex(batch, num_heads):
      truth_TV = reference_attention(
        query_BTHK[b, :, h], key_BSHK[b, :, h], value_BSHV[b, :, h], allowed_BTS[b]
      )
      difference_TV = np.asarray(ours_BTHV)[b, :, h] - truth_TV
      error = max(error, float(np.max(np.abs(difference_TV))))
  return error


@_highest_precision
def model_matches_the_loops() -> tuple[bool, str]:
  """Checks the whole forward pass of the variants against NumPy, source padding included."""
  source_S = [3, 8, 4, 9, 1, PAD_ID, PAD_ID]
  target_T = [5, 11, 6, 1]
  errors = []
  for settings in VARIANTS:
    model, params = _tiny_model(**settings)
    truth_TC = reference_transformer(
      params, source_S, target_T, model.config.positions, model.config.norm
    )
    ours_TC = _logits(model, params, [source_S], [target_T])[0]
    errors.append(np.max(np.abs(ours_TC - truth_TC)) / np.max(np.abs(truth_TC)))
  worst = max(errors)
  return bool(worst < 1e-5), f"{len(errors)} variants, largest relative difference {worst:.0e}"


@_highest_precision
def no_gradient_from_the_future() -> tuple[bool, str]:
  """Checks that the logits at t depend on the embeddings of targets before t, and on no others."""
  # With separate matrices, only the decoder's input reaches the target's embedding.
  model, params = _tiny_model(embedding_sharing="none")
  params = jax.tree.map(jnp.asarray, params)
  source_BS = jnp.array([[3, 8, 4, 1]])
  target_BT = jnp.array([[5, 11, 6, 7, 9, 1]])
  direction_C = jnp.asarray(np.random.default_rng(1).normal(size=_VOCABULARY), jnp.float32)

  def outputs_T(table_CD):
    changed = {**params, "target_embedding": {"embedding": table_CD}}
    return model.apply({"params": changed}, source_BS, target_BT)[0] @ direction_C

  gradient_TCD = jax.jit(jax.jacrev(outputs_T))(params["target_embedding"]["embedding"])
  # reached_TT[t, s]: how strongly the prediction of target t depends on target s.
  reached_TT = np.linalg.norm(np.asarray(gradient_TCD), axis=-1)[:, np.asarray(target_BT[0])]
  past_TT = np.tril(np.ones(reached_TT.shape, bool), -1)
  past = reached_TT[past_TT].min()
  future = reached_TT[~past_TT].max()
  shown = f"gradient from own and later targets {future:.1f}"
  return bool(past > 0 and future == 0), f"{shown}, from each earlier one at least {past:.1e}"


@_highest_precision
def padding_has_no_effect() -> tuple[bool, str]:
  """Checks that padding and other sentences in the batch change no logit.

  A real token in place of padding does.
  """
  model, params = _tiny_model()
  source = [3, 8, 4, 1]
  target = [5, 11, 1]
  alone_TC = _logits(model, params, [source], [target])[0]
  sources = [source + [PAD_ID] * 3, [*source, 6, 6, 6]]
  targets = [target + [PAD_ID] * 2, [*target, 9, 2]]
  batch_BTC = _logits(model, params, sources, targets)[:, : len(target)]
  padded, real = np.max(np.abs(batch_BTC - alone_TC), axis=(1, 2))
  shown = f"logits within {padded:.0e}; real tokens instead of padding change them by {real:.1f}"
  return bool(padded < 2e-5 and real > 1e-2), shown
