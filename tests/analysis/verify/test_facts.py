"""Every fact holds, and the checks notice when the code is changed under them."""

import dataclasses

import pytest

import transformer_jax.model.transformer
from transformer_jax.analysis.cost import formulas as cost
from transformer_jax.analysis.verify import formulas as formula_checks
from transformer_jax.analysis.verify import model as model_checks
from transformer_jax.analysis.verify.facts import facts
from transformer_jax.attention import KERNELS, Mask
from transformer_jax.reference import training


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.check.__name__)
def test_fact(fact):
  holds, shown = fact.check()
  assert holds, shown
  assert shown and "\n" not in shown and fact.section


def test_names_are_distinct():
  assert (
    len({fact.name for fact in facts()}) == len({fact.check for fact in facts()}) == len(facts())
  )


def test_a_late_schedule_is_noticed(monkeypatch):
  monkeypatch.setattr(
    formula_checks,
    "noam_schedule",
    lambda d, w: lambda steps: [training.learning_rate(s + 1.0, d, w) for s in steps],
  )
  assert not formula_checks.schedule_peaks()[0]


def test_the_other_layout_of_positions_is_noticed(monkeypatch):
  original = formula_checks.sinusoids
  monkeypatch.setattr(
    formula_checks,
    "sinusoids",
    lambda length, d, layout: original(length, d, "sinusoidal_concatenated"),
  )
  assert not formula_checks.positions_rotate()[0]
  assert not formula_checks.sinusoids_are_the_formula()[0]


def test_a_wrong_scale_of_scores_is_noticed(monkeypatch):
  original = formula_checks.reference_weights
  monkeypatch.setattr(
    formula_checks, "reference_weights", lambda q, k, mask: original(1.1 * q, k, mask)
  )
  assert not formula_checks.logits_have_unit_variance()[0]


def test_a_bias_too_many_is_noticed(monkeypatch):
  original = cost.counted_parameters
  bias = lambda params: {"bias": params["encoder"]["layer_0"]["feed_forward"]["outer"]["bias"]}
  monkeypatch.setattr(
    cost, "counted_parameters", lambda p: original({**p, "output_projection": bias(p)})
  )
  monkeypatch.setattr(formula_checks, "ROWS", formula_checks.ROWS[:1])
  holds, shown = formula_checks.built_models_have_these_parameters()
  assert not holds and "base" in shown


def test_a_kernel_that_ignores_its_mask_is_noticed(monkeypatch):
  reference = KERNELS["reference"]
  careless = dataclasses.replace(
    reference, attend=lambda q, k, v, mask, m: reference.attend(q, k, v, Mask(), m)
  )
  monkeypatch.setitem(KERNELS, "reference", careless)
  assert not model_checks.kernels_match_the_loops()[0]


def test_a_decoder_without_causality_is_noticed(monkeypatch):
  monkeypatch.setattr(
    transformer_jax.model.transformer, "Mask", lambda causal=False, **parts: Mask(**parts)
  )
  assert not model_checks.no_gradient_from_the_future()[0]


def test_padding_that_is_attended_to_is_noticed(monkeypatch):
  monkeypatch.setattr(
    transformer_jax.model.transformer,
    "lengths_of",
    lambda tokens_BS, pad_id: tokens_BS.shape[1] + 0 * tokens_BS[:, 0],
  )
  assert not model_checks.padding_has_no_effect()[0]
