"""A training step as one would write it by hand in JAX alone.

It has one product for queries, keys and values, and 8 random bits for an element's dropout.
"""

import work

OPTIONS = work.arguments()

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SIZE = work.SIZES[OPTIONS.work]
D = SIZE["d"]
HEADS = SIZE["h"]
DTYPE = jnp.dtype(SIZE.get("dtype", "float32"))


def initial_parameters() -> dict[str, Any]:
  """Returns a tree of float32 arrays."""
  rng = np.random.default_rng(0)

  def matrix(rows, columns):
    scale = (2 / (rows + columns)) ** 0.5
    return jnp.asarray(rng.standard_normal((rows, columns)) * scale, jnp.float32)

  linear = lambda rows, columns: (matrix(rows, columns), jnp.zeros(columns))
  norm = lambda: (jnp.ones(D), jnp.zeros(D))
  own = lambda: dict(qkv=linear(D, 3 * D), out=linear(D, D), norm=norm())
  ff = lambda: dict(inner=linear(D, SIZE["ff"]), outer=linear(SIZE["ff"], D), norm=norm())
  cross = lambda: dict(q=linear(D, D), kv=linear(D, 2 * D), out=linear(D, D), norm=norm())
  layers = range(SIZE["layers"])
  return dict(
    embedding=matrix(SIZE["vocab"], D),
    encoder=[dict(own=own(), ff=ff()) for _ in layers],
    decoder=[dict(own=own(), cross=cross(), ff=ff()) for _ in layers],
  )


def positions() -> jax.Array:
  """Returns the sinusoids of 512 positions."""
  angles = np.arange(512)[:, None] * np.exp(np.arange(0, D, 2) * (-np.log(10_000) / D))
  return jnp.asarray(np.hstack([np.sin(angles), np.cos(angles)]), jnp.float32)


def linear(params: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
  """Returns x W + b."""
  matrix, bias = params
  return x @ matrix.astype(x.dtype) + bias.astype(x.dtype)


def norm(params: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
  """Layer normalization."""
  scale, bias = params
  centered = x - x.mean(-1, keepdims=True)
  inverse = jax.lax.rsqrt(jnp.square(centered).mean(-1, keepdims=True) + 1e-6)
  return (centered * inverse * scale + bias).astype(x.dtype)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the outputs of all heads."""
  split = lambda x: x.reshape(*x.shape[:2], HEADS, D // HEADS)
  scores = jnp.einsum(
    "bqhd,bkhd->bhqk",
    split(query) * (D // HEADS) ** -0.5,
    split(key),
    preferred_element_type=jnp.float32,
  )
  weights = jax.nn.softmax(jnp.where(mask, scores, -1e9)).astype(value.dtype)
  return jnp.einsum("bhqk,bkhd->bqhd", weights, split(value)).reshape(query.shape)


def loss(params: dict[str, Any], source: jax.Array, target: jax.Array, key: jax.Array) -> jax.Array:
  """Returns the mean smoothed cross-entropy."""
  count = 0

  def dropout(x):
    nonlocal count
    count += 1
    keep = jax.random.bits(jax.random.fold_in(key, count), x.shape, "uint8") >= 26
    return jnp.where(keep, x * (256 / 230), 0).astype(x.dtype)

  def embed(tokens):
    vectors = params["embedding"][tokens] * D**0.5 + TABLE[: tokens.shape[1]]
    return dropout(vectors.astype(DTYPE))

  def add_and_norm(part, x, outputs):
    return norm(part["norm"], x + dropout(outputs))

  def own_attention(part, x, mask):
    query, key, value = jnp.split(linear(part["qkv"], x), 3, -1)
    return add_and_norm(part, x, linear(part["out"], attend(query, key, value, mask)))

  def cross_attention(part, x, memory, mask):
    query = linear(part["q"], x)
    key, value = jnp.split(linear(part["kv"], memory), 2, -1)
    return add_and_norm(part, x, linear(part["out"], attend(query, key, value, mask)))

  def feed_forward(part, x):
    hidden = jax.nn.relu(linear(part["inner"], x))
    return add_and_norm(part, x, linear(part["outer"], hidden))

  is_word = (source != work.PAD)[:, None, None]
  is_past = jnp.tril(jnp.ones((target.shape[1],) * 2, bool))
  memory = embed(source)
  for layer in params["encoder"]:
    memory = feed_forward(layer["ff"], own_attention(layer["own"], memory, is_word))
  x = embed(jnp.pad(target, ((0, 0), (1, 0)), constant_values=work.BOS)[:, :-1])
  for layer in params["decoder"]:
    x = own_attention(layer["own"], x, is_past)
    x = cross_attention(layer["cross"], x, memory, is_word)
    x = feed_forward(layer["ff"], x)
  logits = jnp.matmul(x, params["embedding"].T.astype(DTYPE), preferred_element_type=jnp.float32)
  normalizer = jax.nn.logsumexp(logits, -1)
  right = jnp.take_along_axis(logits, target[..., None], -1)[..., 0]
  losses = 0.9 * (normalizer - right) + 0.1 * (normalizer - logits.mean(-1))
  is_token = target != work.PAD
  return jnp.where(is_token, losses, 0.0).sum() / is_token.sum()


def update(
  params: dict[str, Any],
  mean: dict[str, Any],
  square: dict[str, Any],
  step: jax.Array,
  key: jax.Array,
  source: jax.Array,
  target: jax.Array,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], jax.Array, jax.Array]:
  """Returns parameters, moments and step after an update of Adam, and the loss before it."""
  value, gradients = jax.value_and_grad(loss)(params, source, target, jax.random.fold_in(key, step))
  step = step + 1
  mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
  square = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, square, gradients)
  rate = 1e-4 * jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)
  params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-9), params, mean, square)
  return params, mean, square, step, value


jax.config.update("jax_default_prng_impl", "unsafe_rbg")
TABLE = positions()


def main() -> None:
  """Trains on the round's batches."""
  step = jax.jit(update, donate_argnums=(0, 1, 2, 3))
  params = initial_parameters()
  zeros = lambda: jax.tree.map(jnp.zeros_like, params)
  state = [params, zeros(), zeros(), jnp.int32(0)]
  key = jax.random.key(0)
  batches = work.training_batches(OPTIONS.work)
  arrays = [tuple(map(jnp.asarray, batch)) for batch in batches]

  def run_round():
    nonlocal state
    for source, target in arrays:
      *state, value = step(*state, key, source, target)
    value.block_until_ready()
    return work.target_tokens(batches)

  work.serve(
    OPTIONS,
    "plain JAX",
    jax.__version__,
    run_round,
    flop=work.training_flops(OPTIONS.work, batches),
  )


main()
