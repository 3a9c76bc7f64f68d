"""The small questions behind an update's design, each form timed beside the others; docs/performance.md quotes it.

python benchmarks/micro.py [--rounds=15]
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from transformer_jax import parallel
from transformer_jax.analysis.timing import compiled, interleaved_timings
from transformer_jax.attention.matmul import multiply_rows
from transformer_jax.machine import hardware
from transformer_jax.model.dropout import keep_multiplier
from transformer_jax.training import label_smoothing
from transformer_jax.workdir.versions import git_revision

ROWS, NARROW, WIDE, CLASSES = 2048, 256, 1024, 8_000
RATE = 0.1


def draw(*shape):
  """Float32 normals."""
  return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def gradients_of(function):
  """(arguments, slope) -> values and gradients."""

  def both(*arguments):
    *inputs, slope = arguments
    values, pull = jax.vjp(function, *inputs)
    return values, pull(slope)

  return both


def dropout_masks():
  """Masks for ROWS x NARROW elements."""
  levels = round(RATE * 65536)
  plain = lambda bits: (
    lambda key: jnp.where(jax.random.bits(key, (ROWS, NARROW), bits) >= levels, 1.1, 0.0)
  )
  for generator in ("rbg", "threefry2x32"):
    key = jax.random.key(0, impl=generator)
    yield f"{generator}, uint16 as jax draws them", compiled(plain(jnp.uint16), key)
    yield (
      f"{generator}, two of each uint32",
      compiled(lambda key: keep_multiplier(key, (ROWS, NARROW), RATE), key),
    )


def feed_forward_gradients():
  """max(0, x W1) W2, forward and backward."""
  arguments = draw(ROWS, NARROW), draw(NARROW, WIDE), draw(WIDE, NARROW), draw(ROWS, NARROW)
  for name, product in (
    ("as jax derives them", jnp.matmul),
    ("attention/matmul.py", multiply_rows),
  ):
    yield (
      name,
      compiled(
        gradients_of(lambda x, w1, w2, product=product: product(jax.nn.relu(product(x, w1)), w2)),
        *arguments,
      ),
    )


def projections():
  """Queries, keys and values of ROWS positions, forward and backward: three products or one."""
  x, matrices, slopes = draw(ROWS, NARROW), draw(3, NARROW, NARROW), draw(3, ROWS, NARROW)
  yield (
    "three",
    compiled(
      gradients_of(lambda x, m: jnp.stack([multiply_rows(x, m[i]) for i in range(3)])),
      x,
      matrices,
      slopes,
    ),
  )
  yield (
    "one",
    compiled(gradients_of(multiply_rows), x, draw(NARROW, 3 * NARROW), draw(ROWS, 3 * NARROW)),
  )


def layer_norms():
  """Layer normalisation of a sum, forward and backward."""

  def norm(x, y, scale, bias):
    centred = x + y - jnp.mean(x + y, -1, keepdims=True)
    return (
      centred * lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-6) * scale + bias
    )

  @jax.custom_vjp
  def by_hand(x, y, scale, bias):
    return norm(x, y, scale, bias)

  def forward(x, y, scale, bias):
    centred = x + y - jnp.mean(x + y, -1, keepdims=True)
    inverse = lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + 1e-6)
    return centred * inverse * scale + bias, (centred * inverse, inverse, scale)

  def backward(kept, slope):
    normal, inverse, scale = kept
    scaled = slope * scale
    of_input = inverse * (
      scaled
      - jnp.mean(scaled, -1, keepdims=True)
      - normal * jnp.mean(scaled * normal, -1, keepdims=True)
    )
    return of_input, of_input, jnp.sum(slope * normal, 0), jnp.sum(slope, 0)

  by_hand.defvjp(forward, backward)
  arguments = draw(ROWS, NARROW), draw(ROWS, NARROW), draw(NARROW), draw(NARROW), draw(ROWS, NARROW)
  yield "as jax derives it", compiled(gradients_of(norm), *arguments)
  yield "by hand", compiled(gradients_of(by_hand), *arguments)


def losses():
  """Logits of ROWS positions over CLASSES, their loss, and gradients."""
  outputs, matrix, target = (
    draw(1, ROWS, NARROW),
    draw(CLASSES, NARROW),
    jnp.asarray(np.random.default_rng(0).integers(1, CLASSES, (1, ROWS))),
  )

  def from_logits(outputs, matrix, target):
    loss, _ = label_smoothing.smoothed_cross_entropy(
      jnp.einsum("btd,cd->btc", outputs, matrix), target, 0.1
    )
    return loss.sum()

  fused = lambda outputs, matrix, target: label_smoothing.summed_cross_entropy(
    outputs, matrix, target, 0.1
  )[0]
  yield (
    "from logits, as jax derives it",
    compiled(jax.grad(from_logits, (0, 1)), outputs, matrix, target),
  )
  usual = label_smoothing._CHUNK
  for chunk in (usual, 1 << 22):
    label_smoothing._CHUNK = chunk
    yield (
      f"summed_cross_entropy, chunks of {chunk:,} logits",
      compiled(jax.grad(fused, (0, 1)), outputs, matrix, target),
    )
  label_smoothing._CHUNK = usual


QUESTIONS = {
  "dropout mask": dropout_masks,
  "feed-forward network": feed_forward_gradients,
  "Q, K, V": projections,
  "layer norm": layer_norms,
  "loss": losses,
}


def main():
  """Times and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rounds", type=int, default=15)
  options = parser.parse_args()
  parallel.start_up()
  print(json.dumps(dict(hardware(), jax=jax.__version__, revision=git_revision())))
  print("\n| what | form | ms | memory planned, MB |\n|---|---|---|---|")
  for question, forms in QUESTIONS.items():
    names, subjects = zip(*forms(), strict=True)
    for name, subject, timing in zip(
      names, subjects, interleaved_timings(subjects, options.rounds, warm_up=2), strict=True
    ):
      print(
        f"| {question} | {name} | {1e3 * timing.median:.2f} | {(subject.peak_bytes or 0) / 1e6:,.0f} |",
        flush=True,
      )


if __name__ == "__main__":
  main()
