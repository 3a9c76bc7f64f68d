"""A run to Hugging Face's form and back: the same logits and translations; through torch, too.

LayerNorm's epsilon is 1e-5 there. A run that has 1e-5 comes back with its own logits to rounding;
one with the paper's 1e-6 within what that moves.
"""

import numpy as np
import pytest
from random_models import LINES, hypotheses, is_as_good, random_model

import transformer_jax
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.interop.folders import read_model
from transformer_jax.interop.import_run import import_run
from transformer_jax.runs.trained_model import TrainedModel

pytest.importorskip("safetensors", reason="needs the package safetensors")

SIZES = dict(num_layers=1, d_model=32, d_ff=48, num_heads=2, d_k=16, d_v=16)
SEARCH = dict(beam_size=1, max_extra_length=12)


@pytest.fixture(scope="module")
def run(trained):
  return transformer_jax.load(trained)


def of_sharing(run, sharing, epsilon=1e-5, **settings):
  settings = dict(SIZES, embedding_sharing=sharing, layer_norm_epsilon=epsilon, **settings)
  return random_model(run.config, run.task.tokenizer, **settings, **SEARCH)


def back(model, folder, is_untied, through=lambda folder: folder):
  """Returns the model that its exported folder gives, with the model's own search."""
  export_model(model, folder, Form("huggingface", is_untied=is_untied))
  decode = model.config.to_flat()
  names = ("beam_size", "length_penalty", "length_penalty_form", "max_extra_length")
  return transformer_jax.load(through(folder), **{name: decode[name] for name in names})


def largest_difference(model, found, first):
  """Returns the largest difference of logits, as a part of the largest logit.

  `first` is the first class that is compared.
  """
  differences, largest = [], 0.0
  for pair in zip(LINES, [*LINES[1:], LINES[0]], strict=True):
    ours_TC, theirs_TC = model.logits(*pair)[:, first:], found.logits(*pair)[:, first:]
    differences.append(np.abs(ours_TC - theirs_TC).max())
    largest = max(largest, np.abs(ours_TC).max())
  return max(differences) / largest


@pytest.mark.parametrize("is_untied", [False, True], ids=["tied", "untied"])
@pytest.mark.parametrize("sharing", ["all", "target", "none"])
@pytest.mark.slow
def test_logits_and_translations_come_back(sharing, is_untied, run, tmp_path):
  model = of_sharing(run, sharing)
  found = back(model, tmp_path / "out", is_untied)
  is_apart = is_untied or sharing == "none"
  assert found.config.model.embedding_sharing == ("none" if is_apart else sharing)
  assert found.config.model.output_bias == (not is_apart)  # PAD's, so that it is never an answer
  for line in LINES:
    assert found.encode(line) == model.encode(line)
    assert found.encode(line, side="target") == model.encode(line, side="target")
  assert largest_difference(model, found, 0 if is_apart else 1) < 1e-5
  for line, ours, theirs in zip(
    LINES, hypotheses(model, LINES), hypotheses(found, LINES), strict=True
  ):
    assert is_as_good(model, line, ours.tokens, theirs.tokens, tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
  "settings", [dict(activation="gelu"), dict(attention_bias=True, output_bias=True)]
)
def test_settings_that_marian_has_come_back(settings, run, tmp_path):
  model = of_sharing(run, "none", **settings)
  found = back(model, tmp_path / "out", False)
  sizes = model.config.model
  assert found.config.replace(attention_kernel=sizes.attention_kernel).model == sizes
  assert largest_difference(model, found, 0) < 1e-5
  for name, array in model.parameters().items():
    if "embedding" not in name:  # PAD's row becomes zero
      np.testing.assert_array_equal(found.parameters()[name], array)


@pytest.mark.parametrize("is_untied", [False, True], ids=["tied", "untied"])
def test_the_trained_run_comes_back(is_untied, trained, tmp_path):
  """Its epsilon is the paper's; exported, imported as a run, exported and imported once more."""
  model = transformer_jax.load(trained, **SEARCH)
  found = back(model, tmp_path / "out", is_untied)
  assert largest_difference(model, found, 0 if is_untied else 1) < 1e-4
  import_run(str(tmp_path / "out"), tmp_path / "run")
  imported = transformer_jax.load(tmp_path / "run")
  export_model(imported, tmp_path / "again", Form("huggingface"))
  first, second = (read_model(tmp_path / name) for name in ("out", "again"))
  assert second.config.replace(vocab_size=first.config.data.vocab_size) == first.config
  expected = TrainedModel(
    imported.config, imported.task, imported.model, first.params, first.steps
  ).parameters()
  again = transformer_jax.load(tmp_path / "again").parameters()
  for name, array in expected.items():
    np.testing.assert_array_equal(again[name], array)


@pytest.mark.interop
@pytest.mark.parametrize("is_untied", [False, True], ids=["tied", "untied"])
@pytest.mark.parametrize("sharing", ["all", "target", "none"])
def test_a_model_that_transformers_saved_comes_back(sharing, is_untied, run, tmp_path):
  """Its own folder is read by torch, and what torch writes by us."""
  transformers = pytest.importorskip("transformers", reason="needs transformers and torch")
  pytest.importorskip("torch", reason="needs the package torch")

  def through_torch(folder):
    saved = folder.with_name("saved")
    transformers.MarianMTModel.from_pretrained(folder).save_pretrained(saved)
    transformers.MarianTokenizer.from_pretrained(folder).save_pretrained(saved)
    return saved

  model = of_sharing(run, sharing)
  found = back(model, tmp_path / "out", is_untied, through_torch)
  assert largest_difference(model, found, 0 if is_untied or sharing == "none" else 1) < 1e-5
  for line in LINES:
    assert found.encode(line) == model.encode(line)
