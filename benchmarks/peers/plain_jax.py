"""A training step as one would write it by hand in JAX alone, with a fused projection and 8 random bits for an element's dropout."""

import work

OPTIONS = work.arguments()

import jax
import jax.numpy as jnp
import numpy as np

SIZE = work.SIZES[OPTIONS.work]
D, HEADS = SIZE["d"], SIZE["h"]
DTYPE = jnp.dtype(SIZE.get("dtype", "float32"))


def initial_parameters():
  """A tree of float32 arrays."""
  rng = np.random.default_rng(0)
  matrix = lambda rows, columns: jnp.asarray(
    rng.standard_normal((rows, columns)) * (2 / (rows + columns)) ** 0.5, jnp.float32
  )
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


def positions():
  """Sinusoids."""
  angles = np.arange(512)[:, None] * np.exp(np.arange(0, D, 2) * (-np.log(10_000) / D))
  return jnp.asarray(np.hstack([np.sin(angles), np.cos(angles)]), jnp.float32)


def linear(params, x):
  """x W + b."""
  matrix, bias = params
  return x @ matrix.astype(x.dtype) + bias.astype(x.dtype)


def norm(params, x):
  """Layer normalisation."""
  centred = x - x.mean(-1, keepdims=True)
  return (
    centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6) * params[0]
    + params[1]
  ).astype(x.dtype)


def attend(query, key, value, mask):
  """All heads."""
  split = lambda x: x.reshape(*x.shape[:2], HEADS, D // HEADS)
  scores = jnp.einsum(
    "bqhd,bkhd->bhqk",
    split(query) * (D // HEADS) ** -0.5,
    split(key),
    preferred_element_type=jnp.float32,
  )
  weights = jax.nn.softmax(jnp.where(mask, scores, -1e9)).astype(value.dtype)
  return jnp.einsum("bhqk,bkhd->bqhd", weights, split(value)).reshape(query.shape)


def loss(params, source, target, key):
  """The mean smoothed cross-entropy."""
  count = 0

  def dropout(x):
    nonlocal count
    count += 1
    keep = jax.random.bits(jax.random.fold_in(key, count), x.shape, "uint8") >= 26
    return jnp.where(keep, x * (256 / 230), 0).astype(x.dtype)

  def embed(tokens):
    return dropout((params["embedding"][tokens] * D**0.5 + TABLE[: tokens.shape[1]]).astype(DTYPE))

  def own_attention(part, x, mask):
    return norm(
      part["norm"],
      x + dropout(linear(part["out"], attend(*jnp.split(linear(part["qkv"], x), 3, -1), mask))),
    )

  def feed_forward(part, x):
    return norm(
      part["norm"], x + dropout(linear(part["outer"], jax.nn.relu(linear(part["inner"], x))))
    )

  is_word = (source != work.PAD)[:, None, None]
  is_past = jnp.tril(jnp.ones((target.shape[1],) * 2, bool))
  memory = embed(source)
  for layer in params["encoder"]:
    memory = feed_forward(layer["ff"], own_attention(layer["own"], memory, is_word))
  x = embed(jnp.pad(target, ((0, 0), (1, 0)), constant_values=work.BOS)[:, :-1])
  for layer in params["decoder"]:
    x, part = own_attention(layer["own"], x, is_past), layer["cross"]
    x = norm(
      part["norm"],
      x
      + dropout(
        linear(
          part["out"],
          attend(linear(part["q"], x), *jnp.split(linear(part["kv"], memory), 2, -1), is_word),
        )
      ),
    )
    x = feed_forward(layer["ff"], x)
  logits = jnp.matmul(x, params["embedding"].T.astype(DTYPE), preferred_element_type=jnp.float32)
  normalizer = jax.nn.logsumexp(logits, -1)
  right = jnp.take_along_axis(logits, target[..., None], -1)[..., 0]
  losses = 0.9 * (normalizer - right) + 0.1 * (normalizer - logits.mean(-1))
  return jnp.where(target != work.PAD, losses, 0.0).sum() / (target != work.PAD).sum()


def update(params, mean, square, step, key, source, target):
  """One update of Adam."""
  value, gradients = jax.value_and_grad(loss)(params, source, target, jax.random.fold_in(key, step))
  step = step + 1
  mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
  square = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, square, gradients)
  rate = 1e-4 * jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)
  params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-9), params, mean, square)
  return params, mean, square, step, value


jax.config.update("jax_default_prng_impl", "unsafe_rbg")
TABLE = positions()


def main():
  """Trains on the round's batches."""
  step = jax.jit(update, donate_argnums=(0, 1, 2, 3))
  params = initial_parameters()
  zeros = lambda: jax.tree.map(jnp.zeros_like, params)
  *state, key = params, zeros(), zeros(), jnp.int32(0), jax.random.key(0)
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
