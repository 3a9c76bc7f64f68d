"""Tests of the formulas against figures worked out by hand for the paper's models."""

import pytest

from transformer_jax.analysis.cost import formulas
from transformer_jax.analysis.table3 import ROWS
from transformer_jax.config import Config

BASE = ROWS[0].config().model
BIG = ROWS[-1].config().model


def total(model, vocab_size):
  return sum(formulas.parameter_counts(model, vocab_size, vocab_size).values())


def test_known_parameter_counts():
  assert total(BASE, 0) == 44_101_632 and total(BIG, 0) == 176_283_648
  assert total(BASE, 37_000) == 63_045_632 and total(BIG, 32_768) == 209_838_080
  base = formulas.parameter_counts(BASE, 37_000, 37_000)
  assert sum(count for part, count in base.items() if part.startswith("encoder")) == 6 * 3_150_336
  assert sum(count for part, count in base.items() if part.startswith("decoder")) == 6 * 4_199_936


def test_choices_that_add_parameters():
  base = total(BASE, 1000)
  model = lambda **settings: Config().replace(**settings).model
  assert total(model(norm="pre"), 1000) == base + 4 * 512
  assert total(model(positions="learned", max_positions=300), 1000) == base + 2 * 300 * 512
  assert total(model(attention_bias=True), 1000) == base + 18 * 4 * 512
  assert total(model(output_bias=True), 1000) == base + 1000
  target = formulas.parameter_counts(model(embedding_sharing="target"), 1000, 700)
  assert target["embeddings"] == 1700 * 512 and target["output_projection"] == 0
  none = formulas.parameter_counts(model(embedding_sharing="none"), 1000, 700)
  assert none["output_projection"] == 700 * 512 and none["embeddings"] == 1700 * 512


def test_flops_of_training_as_counted_for_the_papers_budget():
  source, target = formulas.training_flops_per_token(BASE, 37_000, 28, 28)
  assert (round(source / 1e9, 3), round(target / 1e9, 3)) == (0.133, 0.248)
  source, target = formulas.training_flops_per_token(BIG, 37_000, 28, 28)
  assert (round(source / 1e9, 3), round(target / 1e9, 3)) == (0.531, 0.760)
  assert formulas.update_flops(BASE, 37_000, 25_000, 25_000, 28, 28) == pytest.approx(
    9.53e12, rel=1e-3
  )
  assert formulas.update_flops(BIG, 37_000, 25_000, 25_000, 28, 28) == pytest.approx(
    32.3e12, rel=1e-3
  )


def test_flops_of_attention_do_not_depend_on_heads():
  flops = set()
  for h in (1, 2, 4, 8, 16, 32):
    config = Config().replace(num_heads=h, d_k=512 // h, d_v=512 // h)
    flops.add(16 * formulas.attention_flops(config.model, 64, 64))
  assert flops == {2_281_701_376}


def test_flops_of_attention_with_unequal_widths_by_hand():
  model = Config().replace(d_model=4, num_heads=1, d_k=2, d_v=3).model
  # Q 2*5*4*2, K 2*7*4*2, V 2*7*4*3, scores 2*5*7*2, values 2*5*7*3, W^O 2*5*3*4
  assert formulas.attention_flops(model, 5, 7) == 80 + 112 + 168 + 140 + 210 + 120


def test_paper_training_cost():
  assert f"{formulas.paper_training_cost(12 * 3600, 8):.1e}" == "3.3e+18"
  assert f"{formulas.paper_training_cost(3.5 * 86_400, 8):.1e}" == "2.3e+19"


def test_an_unknown_leaf_is_refused():
  class Leaf:
    shape = (2, 3)

  known = {"decoder": {"layer_3": {"cross_attention": {"out": {"kernel": Leaf}}}}}
  assert formulas.counted_parameters(known)["decoder_cross_attention"] == 6
  assert formulas.counted_parameters({"output_bias": Leaf})["output_projection"] == 6
  unknown = {"encoder": {"layer_0": {"gate": {"kernel": Leaf}}}}
  with pytest.raises(KeyError):
    formulas.counted_parameters(unknown)


def test_table_3_is_complete():
  assert len(ROWS) == len({row.name for row in ROWS}) == 20
  assert sum(row.parameters_millions is not None for row in ROWS) == 11
  assert [sum(row.name.startswith(letter) for row in ROWS) for letter in "ABCDE"] == [4, 2, 7, 4, 1]


def test_seconds_of_a_training_are_those_of_its_updates_however_often_it_was_started():
  """The second line stands for 5 updates; older versions wrote the token rate of 10 there."""

  def line(step, rate, tokens_rate):
    return dict(
      step=step,
      split="train",
      target_tokens=step,
      updates_per_second=rate,
      target_tokens_per_second=tokens_rate,
    )

  metrics = [
    line(15, 5.0, 75.0),
    line(20, 10.0, 20.0),
    dict(step=20, split="valid"),
    line(30, 2.0, 60.0),
  ]
  assert formulas.training_seconds(metrics) == pytest.approx(3 + 0.5 + 5)
  assert formulas.training_seconds([]) == 0
