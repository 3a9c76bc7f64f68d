"""Times the small choices behind an update's design, each form beside the others.

docs/performance.md quotes it.

    python benchmarks/micro.py [--rounds=15]
"""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from transformer_jax import parallel
from transformer_jax.analysis.timing import Subject, compiled, interleaved_timings
from transformer_jax.attention.matmul import multiply_rows
from transformer_jax.machine import hardware
from transformer_jax.model.dropout import keep_multiplier
from transformer_jax.training import label_smoothing
from transformer_jax.workdir.versions import git_revision

ROWS, NARROW, WIDE, CLASSES = 2048, 256, 1024, 8_000
RATE = 0.1

# (name of a form, the form compiled)
Forms = Iterator[tuple[str, Subject]]


def draw(*shape: int) -> jax.Array:
  """Returns float32 normals."""
  return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def gradients_of(function: Callable) -> Callable:
  """Returns a function (arguments, gradient of the values) -> values and gradients."""

  def both(*arguments):
    *inputs, gradient = arguments
    values, pull = jax.vjp(function, *inputs)
    return values, pull(gradient)

  return both


def dropout_masks() -> Forms:
  """Masks for ROWS x NARROW elements."""
  shape = (ROWS, NARROW)
  levels = round(RATE * 65536)

  def of_uint16(key):
    return jnp.where(jax.random.bits(key, shape, jnp.uint16) >= levels, 1.1, 0.0)

  def of_uint32(key):
    return keep_multiplier(key, shape, RATE)

  for generator in ("rbg", "threefry2x32"):
    key = jax.random.key(0, impl=generator)
    yield f"{generator}, uint16 as jax draws them", compiled(of_uint16, key)
    yield f"{generator}, two of each uint32", compiled(of_uint32, key)


def feed_forward_gradients() -> Forms:
  """max(0, x W1) W2, forward and backward."""
  arguments = draw(ROWS, NARROW), draw(NARROW, WIDE), draw(WIDE, NARROW), draw(ROWS, NARROW)

  def network(product):
    return lambda x, inner, outer: product(jax.nn.relu(product(x, inner)), outer)

  yield "as jax derives them", compiled(gradients_of(network(jnp.matmul)), *arguments)
  yield "attention/matmul.py", compiled(gradients_of(network(multiply_rows)), *arguments)


def projections() -> Forms:
  """Queries, keys and values of ROWS positions, forward and backward: three products or one."""
  x = draw(ROWS, NARROW)

  def three(x, matrices):
    return jnp.stack([multiply_rows(x, matrices[i]) for i in range(3)])

  matrices = draw(3, NARROW, NARROW)
  yield "three", compiled(gradients_of(three), x, matrices, draw(3, ROWS, NARROW))
  matrix = draw(NARROW, 3 * NARROW)
  yield "one", compiled(gradients_of(multiply_rows), x, matrix, draw(ROWS, 3 * NARROW))


def layer_norms() -> Forms:
  """Layer normalization of a sum, forward and backward."""

  def mean(x):
    return jnp.mean(x, -1, keepdims=True)

  def standardized(x, y):
    centered = x + y - mean(x + y)
    inverse = lax.rsqrt(mean(jnp.square(centered)) + 1e-6)
    return centered * inverse, inverse

  def norm(x, y, scale, bias):
    return standardized(x, y)[0] * scale + bias

  @jax.custom_vjp
  def by_hand(x, y, scale, bias):
    return norm(x, y, scale, bias)

  def forward(x, y, scale, bias):
    normal, inverse = standardized(x, y)
    return normal * scale + bias, (normal, inverse, scale)

  def backward(residuals, gradient):
    normal, inverse, scale = residuals
    scaled = gradient * scale
    of_input = inverse * (scaled - mean(scaled) - normal * mean(scaled * normal))
    return of_input, of_input, jnp.sum(gradient * normal, 0), jnp.sum(gradient, 0)

  by_hand.defvjp(forward, backward)
  arguments = draw(ROWS, NARROW), draw(ROWS, NARROW), draw(NARROW), draw(NARROW), draw(ROWS, NARROW)
  yield "as jax derives it", compiled(gradients_of(norm), *arguments)
  yield "by hand", compiled(gradients_of(by_hand), *arguments)


def losses() -> Forms:
  """Logits of ROWS positions over CLASSES, their loss, and gradients."""
  target = jnp.asarray(np.random.default_rng(0).integers(1, CLASSES, (1, ROWS)))
  arguments = draw(1, ROWS, NARROW), draw(CLASSES, NARROW), target

  def from_logits(outputs, matrix, target):
    logits = jnp.einsum("btd,cd->btc", outputs, matrix)
    loss, _ = label_smoothing.smoothed_cross_entropy(logits, target, 0.1)
    return loss.sum()

  def fused(outputs, matrix, target):
    loss, _ = label_smoothing.summed_cross_entropy(outputs, matrix, target, 0.1)
    return loss

  yield "from logits, as jax derives it", compiled(jax.grad(from_logits, (0, 1)), *arguments)
  usual = label_smoothing._CHUNK  # noqa: SLF001  no setting, as nobody else changes it
  for chunk in (usual, 1 << 22):
    label_smoothing._CHUNK = chunk  # noqa: SLF001
    name = f"summed_cross_entropy, chunks of {chunk:,} logits"
    yield name, compiled(jax.grad(fused, (0, 1)), *arguments)
  label_smoothing._CHUNK = usual  # noqa: SLF001


QUESTIONS = {
  "dropout mask": dropout_masks,
  "feed-forward network": feed_forward_gradients,
  "Q, K, V": projections,
  "layer norm": layer_norms,
  "loss": losses,
}


def rows_of(question: str, rounds: int) -> Iterator[str]:
  """Yields lines of a table: a row for each form."""
  forms: list[tuple[str, Any]] = list(QUESTIONS[question]())
  subjects = [subject for _, subject in forms]
  timings = interleaved_timings(subjects, rounds, warm_up=2)
  for (name, subject), timing in zip(forms, timings, strict=True):
    megabytes = (subject.peak_bytes or 0) / 1e6
    yield f"| {question} | {name} | {1e3 * timing.median:.2f} | {megabytes:,.0f} |"


def main() -> None:
  """Times and prints."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rounds", type=int, default=15)
  options = parser.parse_args()
  parallel.start_up()
  print(json.dumps(dict(hardware(), jax=jax.__version__, revision=git_revision())))
  print("\n| what | form | ms | memory planned, MB |\n|---|---|---|---|")
  for question in QUESTIONS:
    for row in rows_of(question, options.rounds):
      print(row, flush=True)


if __name__ == "__main__":
  main()
