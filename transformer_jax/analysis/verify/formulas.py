"""Checks of the paper's figures and formulas against the code that computes them.

No check trains or needs a trained model. Each returns (whether it holds, the figures that it saw).
`facts` gives the sentence of the paper that each of them checks.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transformer_jax.analysis.cost.formulas import (
  PAPER_VOCABULARY,
  attention_flops,
  attention_parameters,
  counted_parameters,
  paper_model_flops,
  paper_training_cost,
  parameter_counts,
  table_1,
)
from transformer_jax.analysis.table3 import ROWS, Row
from transformer_jax.attention import Mask, reference_weights
from transformer_jax.config import Config
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.model.positions import sinusoids
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference import beam_search, positions, training
from transformer_jax.training.label_smoothing import smoothed_cross_entropy
from transformer_jax.training.schedule import noam_schedule
from transformer_jax.training.state import optimizer

BASE = ROWS[0]
BIG = ROWS[-1]
TEXT_VOCABULARY = PAPER_VOCABULARY
TABLE_VOCABULARY = 41_100  # vocabulary that Table 3's counts imply, except for the big model
_DAY = 86_400  # seconds


def _total(row: Row, vocab_size: int) -> int:
  """Returns the parameters of the row's model."""
  return sum(parameter_counts(row.config().model, vocab_size, vocab_size).values())


def _built_counts(row: Row, vocab_size: int) -> dict[str, int]:
  """Returns the parameters of the row's model by part, from its shapes; allocates nothing."""
  config = row.config().replace(attention_kernel="reference")
  model = Transformer(config.model, vocab_size, vocab_size)
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  variables = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
  return counted_parameters(variables["params"])


def built_models_have_these_parameters() -> tuple[bool, str]:
  """Checks all 20 rows of Table 3, part by part."""
  wrong = []
  for row in ROWS:
    expected = parameter_counts(row.config().model, TEXT_VOCABULARY, TEXT_VOCABULARY)
    if _built_counts(row, TEXT_VOCABULARY) != expected:
      wrong.append(row.name)
  if wrong:
    return False, f"rows that differ: {', '.join(wrong)}"
  base = _total(BASE, TEXT_VOCABULARY)
  big = _total(BIG, TEXT_VOCABULARY)
  return True, f"{len(ROWS)} rows; base {base:,}, big {big:,}"


def rows_a_and_d_are_as_large_as_base() -> tuple[bool, str]:
  """Checks that h at equal cost, dropout and smoothing add no parameters.

  Row E adds its two tables of positions.
  """
  base = _total(BASE, TEXT_VOCABULARY)
  extra = {row.name: _total(row, TEXT_VOCABULARY) - base for row in ROWS if row.name[0] in "ADE"}
  learned = extra.pop("E learned positions")
  model = Config().model
  holds = not any(extra.values()) and learned == 2 * model.max_positions * model.d_model
  added = f"E adds {learned:,} = 2 x {model.max_positions} positions x d_model"
  return holds, f"{len(extra)} rows of {base:,}; {added}"


def counts_round_to_the_papers() -> tuple[bool, str]:
  """Checks that base and the rows of B and C round to the paper's figures at V = 41,100.

  The big model is within 3 percent.
  """
  printed = [row for row in ROWS if row.parameters_millions and row is not BIG]
  ours = {row.name: round(_total(row, TABLE_VOCABULARY) / 1e6) for row in printed}
  big = _total(BIG, TABLE_VOCABULARY) / 1e6
  paper_big = BIG.parameters_millions or math.nan
  holds = all(ours[row.name] == row.parameters_millions for row in printed)
  holds = holds and abs(big / paper_big - 1) < 0.03
  shown = ", ".join(map(str, ours.values()))
  return holds, f"V=41,100: {shown} M; big {big:.1f} M (paper {paper_big})"


def counts_at_37000_are_near_the_papers() -> tuple[bool, str]:
  """Checks that all eleven printed counts hold within 7 percent with the vocabulary of the text."""
  errors = {
    row.name: _total(row, TEXT_VOCABULARY) / 1e6 / row.parameters_millions - 1
    for row in ROWS
    if row.parameters_millions
  }
  worst = max(errors, key=lambda name: abs(errors[name]))
  ends = f"base {errors['base']:+.1%}, big {errors['big']:+.1%}"
  shown = f"V=37,000: {ends}, worst {worst} {errors[worst]:+.1%}"
  return abs(errors[worst]) < 0.07, shown


def schedule_peaks() -> tuple[bool, str]:
  """Checks that base's and big's schedules peak at step 4000 and agree with the reference."""
  shown = []
  holds = True
  for row, peak in ((BASE, 6.99e-4), (BIG, 4.94e-4)):
    config = row.config()
    d_model = config.model.d_model
    warmup_steps = config.train.warmup_steps
    far_apart = np.geomspace(1, 300_000, 200).astype(int)
    steps = np.unique(np.concatenate([np.arange(3900, 4100), far_apart]))
    rates = np.asarray(noam_schedule(d_model, warmup_steps)(steps))
    reference = [training.learning_rate(float(step), d_model, warmup_steps) for step in steps]
    top = int(steps[np.argmax(rates)])
    holds = holds and np.allclose(rates, reference, rtol=1e-5)
    holds = holds and top == warmup_steps
    holds = holds and f"{rates.max():.2e}" == f"{peak:.2e}"
    shown.append(f"{row.name} {rates.max():.2e} at step {top}")
  return holds, ", ".join(shown)


def adam_follows_the_reference() -> tuple[bool, str]:
  """Compares ten updates of the training's optimizer with the loop.

  The gradients are of very different sizes.
  """
  gradients = np.random.default_rng(0).normal(size=(10, 6)) * np.geomspace(1e-6, 1e3, 6)
  config = Config().replace(warmup_steps=4)
  transform = optimizer(config)
  parameters = jnp.zeros(6)
  state = transform.init(parameters)
  for gradient in gradients:
    updates, state = transform.update(jnp.asarray(gradient, jnp.float32), state)
    parameters = optax.apply_updates(parameters, updates)
  rates = [training.learning_rate(step, config.model.d_model, 4) for step in range(1, 11)]
  expected = training.adam(np.zeros(6), lambda _, step: gradients[step - 1], rates)
  error = np.max(np.abs(np.asarray(parameters) - expected)) / np.max(np.abs(expected))
  return bool(error < 1e-4), f"largest difference {error:.1e} of the distance moved"


def sinusoids_are_the_formula() -> tuple[bool, str]:
  """Checks both layouts against the loops.

  The wavelengths run from 2 pi to 9647 x 2 pi at d = 512.
  """
  interleaved = positions.positional_encoding(300, 512)
  concatenated = positions.concatenated_positional_encoding(300, 512)
  errors = [
    np.max(np.abs(sinusoids(300, 512, "sinusoidal") - interleaved)),
    np.max(np.abs(sinusoids(300, 512, "sinusoidal_concatenated") - concatenated)),
  ]
  longest = 10_000 ** (510 / 512)
  shown = f"interleaved within {errors[0]:.0e}, concatenated within {errors[1]:.0e}"
  return bool(max(errors) < 1e-6), f"{shown}; longest wave {longest:.0f} x 2 pi"


def positions_rotate() -> tuple[bool, str]:
  """Checks that PE(pos + k) is a fixed rotation of PE(pos), for every pos."""
  table_LD = sinusoids(500, 512, "sinusoidal").astype(np.float64)
  errors = {}
  for offset in (1, 7, 100):
    moved_LD = table_LD[:-offset] @ positions.rotation(offset, 512).T
    errors[offset] = np.max(np.abs(moved_LD - table_LD[offset:]))
  shown = ", ".join(f"k={k} within {error:.0e}" for k, error in errors.items())
  return bool(max(errors.values()) < 1e-6), shown


def logits_have_unit_variance() -> tuple[bool, str]:
  """Checks that q.k has variance d_k for unit normal q and k, and the scaled scores variance 1."""
  rng = np.random.default_rng(0)
  shown = []
  holds = True
  for d_k in (16, 64, 256):
    query_BTHK, key_BSHK = rng.normal(size=(2, 1, 512, 1, d_k)).astype(np.float32)
    raw = np.var(np.einsum("bthk,bshk->bts", query_BTHK, key_BSHK))
    weights_BHTS = reference_weights(jnp.asarray(query_BTHK), jnp.asarray(key_BSHK), Mask())
    # The logarithm of the softmax is the score up to a constant in each row.
    scores_BHTS = np.log(np.asarray(weights_BHTS, np.float64))
    scaled = np.mean(np.var(scores_BHTS, axis=-1))
    holds = holds and abs(raw / d_k - 1) < 0.05 and abs(scaled - 1) < 0.05
    shown.append(f"d_k={d_k}: {raw:.1f} unscaled, {scaled:.3f} scaled")
  return bool(holds), "; ".join(shown)


def smoothing_entropy() -> tuple[bool, str]:
  """Checks that the least loss under smoothing 0.1 is the entropy of the smoothed labels.

  It is 1.377 nats at V = 37,000.
  """
  distribution_C = training.smoothed_distribution(5, TEXT_VOCABULARY, 0.1)
  logits_BTC = jnp.asarray(np.log(distribution_C), jnp.float32)[None, None]
  loss_BT, nll_BT = smoothed_cross_entropy(logits_BTC, jnp.array([[5]]), 0.1)
  loss = float(loss_BT[0, 0])
  nll = float(nll_BT[0, 0])
  entropy = training.smoothing_entropy(TEXT_VOCABULARY, 0.1)
  holds = f"{loss:.3f}" == "1.377" and abs(loss - entropy) < 1e-4
  holds = holds and abs(nll + math.log(0.9)) < 1e-4
  return holds, f"{loss:.3f} nats; without smoothing {nll:.4f}"


def length_penalty_figures() -> tuple[bool, str]:
  """Checks ((5 + length) / 6)^0.6 at lengths 10, 25 and 50."""
  ours = [float(length_penalty(n, 0.6)) for n in (10, 25, 50)]
  reference = [beam_search.penalty(n, 0.6) for n in (10, 25, 50)]
  shown = [f"{x:.2f}" for x in ours]
  holds = shown == ["1.73", "2.63", "3.78"] and np.allclose(ours, reference)
  return holds, f"length 10, 25, 50: {', '.join(shown)}"


def training_cost() -> tuple[bool, str]:
  """Checks Table 2's cost of the two models: 12 hours and 3.5 days on eight P100."""
  base = paper_training_cost(_DAY / 2, 8)
  big = paper_training_cost(3.5 * _DAY, 8)
  holds = f"{base:.1e}" == "3.3e+18" and f"{big:.1e}" == "2.3e+19"
  return holds, f"base {base:.2e}, big {big:.2e} FLOP"


def arithmetic_fits_into_the_cost() -> tuple[bool, str]:
  """Checks that the updates' arithmetic is 29 and 42 percent of what the paper counts as cost."""
  shown = []
  holds = True
  for row, days, share in ((BASE, 0.5, 0.29), (BIG, 3.5, 0.42)):
    needed = paper_model_flops(row.config())
    ours = needed / paper_training_cost(days * _DAY, 8)
    holds = holds and abs(ours - share) < 0.005
    shown.append(f"{row.name} {needed:.1e} FLOP = {ours:.0%}")
  return holds, ", ".join(shown)


def heads_cost_the_same() -> tuple[bool, str]:
  """Checks that h heads of width d/h have one head's parameters and operations (Table 3, row A)."""
  models = [row.config().model for row in ROWS if row.name == "base" or row.name[0] == "A"]
  parameters = {attention_parameters(model) for model in models}
  flops = {attention_flops(model, 64, 64) for model in models}
  heads = ", ".join(str(h) for h in sorted(model.num_heads for model in models))
  megaflops = min(flops) / 1e6
  shown = f"h = {heads}: {min(parameters):,} parameters, {megaflops:.1f} MFLOP at length 64"
  return len(parameters) == len(flops) == 1, shown


def complexity_of_layers() -> tuple[bool, str]:
  """Checks the statements of Section 4 about Table 1.

  Self-attention is cheaper than recurrence when n < d. A convolution costs k recurrences. A
  separable one at k = n costs self-attention plus a feed-forward layer. Only self-attention has
  constant paths and no sequential steps.
  """
  d = 512
  cheaper = []
  for n in (511, 512, 513):
    table = table_1(n, d, 3, 10)
    cheaper.append(table["self-attention"].operations < table["recurrent"].operations)
  holds = cheaper == [True, False, False]

  table = table_1(70, d, 3, 10)
  holds = holds and table["convolutional"].operations == 3 * table["recurrent"].operations
  separable = table_1(70, d, 70, 10)["separable convolutional"].operations
  holds = holds and separable == table["self-attention"].operations + 70 * d**2

  table = table_1(80, d, 3, 10)
  restricted = table["restricted self-attention"].operations
  holds = holds and restricted == table["self-attention"].operations / 8

  table = table_1(81, d, 3, 10)
  constant = [
    name for name, row in table.items() if row.sequential_operations == row.longest_path == 1
  ]
  holds = holds and constant == ["self-attention"]
  paths = {
    name: table[name].longest_path for name in ("self-attention", "recurrent", "convolutional")
  }
  holds = holds and [round(path, 9) for path in paths.values()] == [1, 81, 4]
  shown = ", ".join(f"{name} {path:.0f}" for name, path in paths.items())
  return holds, f"longest path at n=81: {shown}"
