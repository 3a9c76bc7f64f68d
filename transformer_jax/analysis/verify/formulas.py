"""Checks of the paper's figures and formulas against the code that computes them; none trains or needs a model.

A check returns (whether it holds, the figures it saw). `paper_facts` says which sentence of the paper each one is.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from transformer_jax.analysis.cost import formulas as cost
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.attention import Mask, reference_weights
from transformer_jax.config import Config
from transformer_jax.decoding.length_penalty import length_penalty
from transformer_jax.model.positions import sinusoids
from transformer_jax.model.transformer import Transformer
from transformer_jax.reference import beam_search, positions, training
from transformer_jax.training.label_smoothing import smoothed_cross_entropy
from transformer_jax.training.schedule import noam_schedule
from transformer_jax.training.state import optimizer

BASE, BIG = ROWS[0], ROWS[-1]
TEXT_VOCABULARY = cost.PAPER_VOCABULARY
TABLE_VOCABULARY = 41_100  # what Table 3's counts imply, except for the big model's


def _total(row, vocab_size):
  return sum(cost.parameter_counts(row.config().model, vocab_size, vocab_size).values())


def _built_counts(row, vocab_size):
  """Parameters of the row's model by part, from its shapes: nothing is allocated."""
  model = Transformer(
    row.config().replace(attention_kernel="reference").model, vocab_size, vocab_size
  )
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  variables = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
  return cost.counted_parameters(variables["params"])


def built_models_have_these_parameters():
  """All 20 rows of Table 3, part by part."""
  wrong = []
  for row in ROWS:
    expected = cost.parameter_counts(row.config().model, TEXT_VOCABULARY, TEXT_VOCABULARY)
    if _built_counts(row, TEXT_VOCABULARY) != expected:
      wrong.append(row.name)
  if wrong:
    return False, f"rows that differ: {', '.join(wrong)}"
  return (
    True,
    f"{len(ROWS)} rows; base {_total(BASE, TEXT_VOCABULARY):,}, big {_total(BIG, TEXT_VOCABULARY):,}",
  )


def rows_a_and_d_are_as_large_as_base():
  """Changing h at equal cost, dropout or smoothing adds no parameter; E adds its two position tables."""
  base = _total(BASE, TEXT_VOCABULARY)
  extra = {row.name: _total(row, TEXT_VOCABULARY) - base for row in ROWS if row.name[0] in "ADE"}
  learned = extra.pop("E learned positions")
  model = Config().model
  holds = not any(extra.values()) and learned == 2 * model.max_positions * model.d_model
  return (
    holds,
    f"{len(extra)} rows of {base:,}; E adds {learned:,} = 2 x {model.max_positions} positions x d_model",
  )


def counts_round_to_the_papers():
  """Base and the rows of B and C round to the paper's figure at V = 41,100; big is within 3 per cent."""
  printed = [row for row in ROWS if row.parameters_millions and row is not BIG]
  ours = {row.name: round(_total(row, TABLE_VOCABULARY) / 1e6) for row in printed}
  big = _total(BIG, TABLE_VOCABULARY) / 1e6
  holds = all(ours[row.name] == row.parameters_millions for row in printed)
  holds = holds and abs(big / BIG.parameters_millions - 1) < 0.03
  return (
    holds,
    f"V=41,100: {', '.join(map(str, ours.values()))} M; big {big:.1f} M (paper {BIG.parameters_millions})",
  )


def counts_at_37000_are_near_the_papers():
  """With the vocabulary of the text, all eleven printed counts are met within 7 per cent."""
  errors = {
    row.name: _total(row, TEXT_VOCABULARY) / 1e6 / row.parameters_millions - 1
    for row in ROWS
    if row.parameters_millions
  }
  worst = max(errors, key=lambda name: abs(errors[name]))
  shown = (
    f"base {errors['base']:+.1%}, big {errors['big']:+.1%}, worst {worst} {errors[worst]:+.1%}"
  )
  return abs(errors[worst]) < 0.07, f"V=37,000: {shown}"


def schedule_peaks():
  """The schedule of base and big peaks at step 4000, and is the reference's everywhere."""
  shown, holds = [], True
  for row, peak in ((BASE, 6.99e-4), (BIG, 4.94e-4)):
    config = row.config()
    d_model, warmup_steps = config.model.d_model, config.train.warmup_steps
    steps = np.unique(
      np.concatenate([np.arange(3900, 4100), np.geomspace(1, 300_000, 200).astype(int)])
    )
    rates = np.asarray(noam_schedule(d_model, warmup_steps)(steps))
    reference = [training.learning_rate(float(step), d_model, warmup_steps) for step in steps]
    top = int(steps[np.argmax(rates)])
    holds = holds and np.allclose(rates, reference, rtol=1e-5) and top == warmup_steps
    holds = holds and f"{rates.max():.2e}" == f"{peak:.2e}"
    shown.append(f"{row.name} {rates.max():.2e} at step {top}")
  return holds, ", ".join(shown)


def adam_follows_the_reference():
  """Ten updates of the optimizer of training against the loop, on gradients of very different sizes."""
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
  return error < 1e-4, f"largest difference {error:.1e} of the way gone"


def sinusoids_are_the_formula():
  """Both layouts equal the loops; the wavelengths run from 2 pi to 9647 x 2 pi at d = 512."""
  errors = [
    np.max(np.abs(sinusoids(300, 512, layout) - loop(300, 512)))
    for layout, loop in (
      ("sinusoidal", positions.positional_encoding),
      ("sinusoidal_concatenated", positions.concatenated_positional_encoding),
    )
  ]
  longest = 10_000 ** (510 / 512)
  shown = f"interleaved within {errors[0]:.0e}, concatenated within {errors[1]:.0e}"
  return max(errors) < 1e-6, f"{shown}; longest wave {longest:.0f} x 2 pi"


def positions_rotate():
  """PE(pos + k) is a fixed rotation of PE(pos), for every pos."""
  table_LD = sinusoids(500, 512, "sinusoidal").astype(np.float64)
  errors = {}
  for offset in (1, 7, 100):
    moved_LD = table_LD[:-offset] @ positions.rotation(offset, 512).T
    errors[offset] = np.max(np.abs(moved_LD - table_LD[offset:]))
  return max(errors.values()) < 1e-6, ", ".join(
    f"k={k} within {error:.0e}" for k, error in errors.items()
  )


def logits_have_unit_variance():
  """For unit normal q and k, q.k has variance d_k; the scores the softmax sees have variance 1."""
  rng, shown, holds = np.random.default_rng(0), [], True
  for d_k in (16, 64, 256):
    query_BTHK, key_BSHK = rng.normal(size=(2, 1, 512, 1, d_k)).astype(np.float32)
    raw = np.var(np.einsum("bthk,bshk->bts", query_BTHK, key_BSHK))
    # The logarithm of the softmax is the score but for a constant in each row.
    weights_BHTS = reference_weights(jnp.asarray(query_BTHK), jnp.asarray(key_BSHK), Mask())
    scaled = np.mean(np.var(np.log(np.asarray(weights_BHTS, np.float64)), axis=-1))
    holds = holds and abs(raw / d_k - 1) < 0.05 and abs(scaled - 1) < 0.05
    shown.append(f"d_k={d_k}: {raw:.1f} unscaled, {scaled:.3f} scaled")
  return holds, "; ".join(shown)


def smoothing_entropy():
  """The least loss under smoothing 0.1 is the entropy of the smoothed labels: 1.377 nats at V = 37,000."""
  distribution_C = training.smoothed_distribution(5, TEXT_VOCABULARY, 0.1)
  logits_BTC = jnp.asarray(np.log(distribution_C), jnp.float32)[None, None]
  loss_BT, nll_BT = smoothed_cross_entropy(logits_BTC, jnp.array([[5]]), 0.1)
  loss, nll = float(loss_BT[0, 0]), float(nll_BT[0, 0])
  holds = (
    f"{loss:.3f}" == "1.377" and abs(loss - training.smoothing_entropy(TEXT_VOCABULARY, 0.1)) < 1e-4
  )
  return holds and abs(nll + math.log(0.9)) < 1e-4, f"{loss:.3f} nats; without smoothing {nll:.4f}"


def length_penalty_figures():
  """((5 + length) / 6)^0.6 at lengths 10, 25 and 50."""
  ours = [float(length_penalty(n, 0.6)) for n in (10, 25, 50)]
  reference = [beam_search.penalty(n, 0.6) for n in (10, 25, 50)]
  shown = [f"{x:.2f}" for x in ours]
  return shown == ["1.73", "2.63", "3.78"] and np.allclose(
    ours, reference
  ), f"length 10, 25, 50: {', '.join(shown)}"


def training_cost():
  """Table 2's cost of the two models: 12 hours and 3.5 days on eight P100."""
  base, big = cost.paper_training_cost(12 * 3600, 8), cost.paper_training_cost(3.5 * 86_400, 8)
  return (f"{base:.1e}", f"{big:.1e}") == (
    "3.3e+18",
    "2.3e+19",
  ), f"base {base:.2e}, big {big:.2e} FLOP"


def arithmetic_fits_into_the_cost():
  """What the updates compute is 29 and 42 per cent of what the paper counts as cost."""
  shown, holds = [], True
  for row, days, share in ((BASE, 0.5, 0.29), (BIG, 3.5, 0.42)):
    needed = cost.paper_model_flops(row.config())
    ours = needed / cost.paper_training_cost(days * 86_400, 8)
    holds = holds and abs(ours - share) < 0.005
    shown.append(f"{row.name} {needed:.1e} FLOP = {ours:.0%}")
  return holds, ", ".join(shown)


def heads_cost_the_same():
  """h heads of width d/h have the parameters and the operations of one head of width d (Table 3, row A)."""
  models = [row.config().model for row in ROWS if row.name == "base" or row.name[0] == "A"]
  parameters = {cost.attention_parameters(model) for model in models}
  flops = {cost.attention_flops(model, 64, 64) for model in models}
  heads = ", ".join(str(h) for h in sorted(model.num_heads for model in models))
  shown = f"h = {heads}: {min(parameters):,} parameters, {min(flops) / 1e6:.1f} MFLOP at length 64"
  return len(parameters) == len(flops) == 1, shown


def table_1():
  """What Section 4 reads from Table 1.

  Self-attention is cheaper than recurrence when n < d; a convolution costs k recurrences; a separable one at k = n
  costs self-attention plus a feed-forward layer; only self-attention has constant paths and no sequence of steps.
  """
  cheaper = [
    _table_1("self-attention", n)[0] < _table_1("recurrent", n)[0] for n in (511, 512, 513)
  ]
  holds = cheaper == [True, False, False]
  holds = holds and _table_1("convolutional", 70, k=3)[0] == 3 * _table_1("recurrent", 70)[0]
  holds = (
    holds
    and _table_1("separable convolutional", 70, k=70)[0]
    == _table_1("self-attention", 70)[0] + 70 * 512**2
  )
  holds = (
    holds
    and _table_1("restricted self-attention", 80, r=10)[0] == _table_1("self-attention", 80)[0] / 8
  )
  holds = holds and [layer for layer in cost.TABLE_1 if _table_1(layer, 81)[1:] == [1, 1]] == [
    "self-attention"
  ]
  paths = {
    layer: _table_1(layer, 81)[2] for layer in ("self-attention", "recurrent", "convolutional")
  }
  holds = holds and [round(path, 9) for path in paths.values()] == [1, 81, 4]
  return holds, "longest path at n=81: " + ", ".join(
    f"{layer} {path:.0f}" for layer, path in paths.items()
  )


def _table_1(layer, n, d=512, k=3, r=10):
  """[operations, sequential operations, longest path] of a layer."""
  return [formula(n, d, k, r) for formula in cost.TABLE_1[layer]]
