"""The facts of the paper that `transformer-jax verify` checks without training anything."""

import dataclasses
from collections.abc import Callable

from transformer_jax.analysis.verify import formulas, model


@dataclasses.dataclass(frozen=True)
class Fact:
  """A statement of the paper, its section, and a check that returns (holds, the figures it saw)."""

  name: str
  section: str
  check: Callable[[], tuple[bool, str]]


def facts() -> list[Fact]:
  """Returns all facts, in the order of the paper's sections."""
  layers = "4, Table 1"
  cost = "6.1, Table 2"
  sizes = "6.2, Table 3"
  return [
    Fact("the model is the NumPy reference's, whole", "3", model.model_matches_the_loops),
    Fact("a target depends on earlier targets only", "3.1", model.no_gradient_from_the_future),
    Fact(
      "each kernel is the NumPy loop's attention, head by head",
      "3.2",
      model.kernels_match_the_loops,
    ),
    Fact("padding has no effect", "3.2.1", model.padding_has_no_effect),
    Fact(
      "scores have variance d_k, and 1 when scaled", "3.2.1", formulas.logits_have_unit_variance
    ),
    Fact("h heads cost what one costs", "3.2.2", formulas.heads_cost_the_same),
    Fact("positions are sinusoids", "3.5", formulas.sinusoids_are_the_formula),
    Fact("PE(pos + k) is a rotation of PE(pos)", "3.5", formulas.positions_rotate),
    Fact("complexity of layers", layers, formulas.complexity_of_layers),
    Fact("the learning rate peaks at 4000 steps", "5.3", formulas.schedule_peaks),
    Fact("Adam is the paper's", "5.3", formulas.adam_follows_the_reference),
    Fact("label smoothing's entropy", "5.4", formulas.smoothing_entropy),
    Fact("length penalty", "6.1", formulas.length_penalty_figures),
    Fact("training cost 3.3e18 and 2.3e19", cost, formulas.training_cost),
    Fact("arithmetic within that cost", cost, formulas.arithmetic_fits_into_the_cost),
    Fact(
      "built models have the formula's parameters",
      sizes,
      formulas.built_models_have_these_parameters,
    ),
    Fact("rows A and D are as large as base", sizes, formulas.rows_a_and_d_are_as_large_as_base),
    Fact("parameter counts round to the paper's", sizes, formulas.counts_round_to_the_papers),
    Fact("parameter counts at V=37,000", sizes, formulas.counts_at_37000_are_near_the_papers),
  ]
