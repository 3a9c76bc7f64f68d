"""Tests of `verify`: each fact holds, and its check notices when the code changes."""

import dataclasses

import pytest

import transformer_jax.model.transformer
from transformer_jax.analysis.verify import formulas, model
from transformer_jax.analysis.verify.facts import facts
from transformer_jax.attention import KERNELS, Mask
from transformer_jax.reference import training

# It builds the 20 models of Table 3.
SLOW = {formulas.built_models_have_these_parameters}


@pytest.mark.parametrize(
  "fact",
  [pytest.param(fact, marks=[pytest.mark.slow] if fact.check in SLOW else []) for fact in facts()],
  ids=lambda fact: fact.check.__name__,
)
def test_fact(fact):
  holds, shown = fact.check()
  assert holds, shown
  assert shown and "\n" not in shown
  assert fact.section


def test_names_are_distinct():
  assert len({fact.name for fact in facts()}) == len(facts())
  assert len({fact.check for fact in facts()}) == len(facts())


def test_a_late_schedule_is_noticed(monkeypatch):
  def late_schedule(d_model, warmup_steps):
    return lambda steps: [training.learning_rate(s + 1.0, d_model, warmup_steps) for s in steps]

  monkeypatch.setattr(formulas, "noam_schedule", late_schedule)
  assert not formulas.schedule_peaks()[0]


def test_the_other_layout_of_positions_is_noticed(monkeypatch):
  original = formulas.sinusoids
  monkeypatch.setattr(
    formulas,
    "sinusoids",
    lambda length, d, layout: original(length, d, "sinusoidal_concatenated"),
  )
  assert not formulas.positions_rotate()[0]
  assert not formulas.sinusoids_are_the_formula()[0]


def test_a_wrong_scale_of_scores_is_noticed(monkeypatch):
  original = formulas.reference_weights
  monkeypatch.setattr(formulas, "reference_weights", lambda q, k, mask: original(1.1 * q, k, mask))
  assert not formulas.logits_have_unit_variance()[0]


def test_an_additional_bias_is_noticed(monkeypatch):
  original = formulas.counted_parameters

  def counted_with_a_bias(params):
    bias = params["encoder"]["layer_0"]["feed_forward"]["outer"]["bias"]
    return original({**params, "output_projection": {"bias": bias}})

  monkeypatch.setattr(formulas, "counted_parameters", counted_with_a_bias)
  monkeypatch.setattr(formulas, "ROWS", formulas.ROWS[:1])
  holds, shown = formulas.built_models_have_these_parameters()
  assert not holds and "base" in shown


def test_a_kernel_that_ignores_its_mask_is_noticed(monkeypatch):
  reference = KERNELS["reference"]
  careless = dataclasses.replace(
    reference, attend=lambda q, k, v, mask, m: reference.attend(q, k, v, Mask(), m)
  )
  monkeypatch.setitem(KERNELS, "reference", careless)
  assert not model.kernels_match_the_loops()[0]


def test_a_decoder_without_causality_is_noticed(monkeypatch):
  monkeypatch.setattr(
    transformer_jax.model.transformer, "Mask", lambda causal=False, **parts: Mask(**parts)
  )
  assert not model.no_gradient_from_the_future()[0]


def test_padding_that_is_attended_to_is_noticed(monkeypatch):
  monkeypatch.setattr(
    transformer_jax.model.transformer,
    "sequence_lengths",
    lambda tokens_BS, pad_id: tokens_BS.shape[1] + 0 * tokens_BS[:, 0],
  )
  assert not model.padding_has_no_effect()[0]
