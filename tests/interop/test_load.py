"""`transformer_jax.load` of every folder that holds a model: one reader, the same methods."""

import shutil

import marian_folder as marian
import numpy as np
import pytest
from random_models import random_model

import transformer_jax
from transformer_jax.errors import (
  CheckpointError,
  ConfigError,
  WorkdirError,
)
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.interop.folders import read_model
from transformer_jax.interop.import_run import import_run
from transformer_jax.interop.safetensors import read_arrays

pytest.importorskip("safetensors", reason="needs the package safetensors")

PAIR = ("forty two", "zweiundvierzig")
KINDS = ("workdir", "safetensors", "huggingface", "marian")


@pytest.fixture(scope="module")
def folders(trained, tmp_path_factory):
  """A folder of each kind; the first three hold one model."""
  parent = tmp_path_factory.mktemp("folders")
  run = transformer_jax.load(trained)
  for name in ("safetensors", "huggingface"):
    export_model(run, parent / name, Form(name))
  marian.write_marian(parent / "marian")
  return dict(workdir=trained, **{name: parent / name for name in KINDS[1:]})


@pytest.fixture(scope="module")
def models(folders):
  settings = dict(beam_size=1, max_extra_length=3)
  return {name: transformer_jax.load(folder, **settings) for name, folder in folders.items()}


@pytest.mark.parametrize(
  "kind",
  [
    pytest.param(kind, marks=[] if kind in ("workdir", "marian") else pytest.mark.slow)
    for kind in KINDS
  ],
)
def test_every_method_works(models, kind):
  model = models[kind]
  source, target = ("the frog", "der frosch") if kind == "marian" else PAIR
  sizes = model.config.model
  tokens, target_T = model.encode(source), model.encode(target, side="target")
  assert len(model.pieces(tokens)) == len(tokens) and model.pieces(tokens)[-1] == "</s>"
  num_layers, num_heads = sizes.num_layers, sizes.num_heads
  logits_TC = model.logits(source, target)
  assert logits_TC.shape == (len(target_T), model.task.target_vocab_size)
  weights = model.attention(source, target)
  assert weights["cross"].shape == (num_layers, num_heads, len(target_T), len(tokens))
  np.testing.assert_allclose(weights["cross"].sum(-1), 1, atol=1e-5)
  closed = model.with_heads_closed([("cross", 0, 1)])
  assert np.abs(closed.logits(source, target) - logits_TC).max() > 1e-5
  parameters = model.parameters()
  kernel_DHK = parameters["encoder.layer_0.self_attention.query.kernel"]
  assert kernel_DHK.shape == (sizes.d_model, num_heads, sizes.d_k)
  assert all(array.dtype == np.float32 for array in parameters.values())
  assert len(model.translate([source, "", source])) == 3
  ((log_prob, length),) = model.log_probs([(source, target)])
  assert log_prob < 0 and length == len(target_T)
  with pytest.raises(TypeError, match="not a single string"):
    model.translate(source)


def test_an_exported_model_is_the_run_itself(models):
  run, found = models["workdir"], models["safetensors"]
  np.testing.assert_array_equal(found.logits(*PAIR), run.logits(*PAIR))
  assert found.steps == run.steps and found.config == run.config
  assert models["marian"].steps == [0]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_import_reads_what_load_reads(folders, models, kind, tmp_path):
  import_run(str(folders[kind]), tmp_path / "run")
  imported = transformer_jax.load(tmp_path / "run")
  found = imported.parameters()
  for name, array in models[kind].parameters().items():
    np.testing.assert_array_equal(found[name], array)
  assert imported.steps == models[kind].steps


def test_settings_replace_those_of_the_folder(folders):
  model = transformer_jax.load(folders["safetensors"], beam_size=3, length_penalty=0.25)
  assert (model.config.decode.beam_size, model.config.decode.length_penalty) == (3, 0.25)
  with pytest.raises(ConfigError, match="--beam_size: 0 is too small"):
    transformer_jax.load(folders["safetensors"], beam_size=0)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_there_are_no_checkpoints_to_choose_from(folders, kind):
  for given in (dict(checkpoint="best"), dict(checkpoint=40), dict(step=40), dict(average_last=2)):
    ((name, value),) = given.items()
    with pytest.raises(ConfigError, match=rf"{name}={value}: .* is not a run: it has no"):
      transformer_jax.load(folders[kind], **given)
  unchanged = dict(checkpoint="last", step=None, average_last=1)
  assert transformer_jax.load(folders[kind], **unchanged).encode("a")


def test_a_ctranslate2_folder_is_refused(tmp_path):
  folder = tmp_path / "ct2"
  folder.mkdir()
  (folder / "model.bin").write_bytes(b"\6\0\0\0")
  (folder / "config.json").write_text('{"layer_norm_epsilon": 1e-6}')
  for call in (transformer_jax.load, read_model):
    with pytest.raises(
      ConfigError, match="is a CTranslate2 model, whose arrays cannot be read"
    ) as e:
      call(folder)
    assert "export --format=safetensors or huggingface" in str(e.value)


@pytest.mark.interop
def test_an_exported_ctranslate2_folder_is_refused(trained, tmp_path):
  pytest.importorskip("ctranslate2", reason="needs the package ctranslate2")
  export_model(transformer_jax.load(trained), tmp_path / "ct2", Form("ctranslate2"))
  with pytest.raises(ConfigError, match="is a CTranslate2 model, whose arrays cannot be read"):
    transformer_jax.load(tmp_path / "ct2")


def test_what_is_no_model_is_refused_with_what_can_be_loaded(tmp_path):
  (tmp_path / "notes.txt").write_text("hello")
  for path in (tmp_path, tmp_path / "missing", tmp_path / "notes.txt", "a\0b"):
    with pytest.raises(
      WorkdirError, match=r"there is no run here .*, and no other model"
    ) as refused:
      transformer_jax.load(path)
    line = str(refused.value)
    assert "\n" not in line and refused.value.remedy == (
      "name the workdir of a run, or a folder with what export --format=safetensors or huggingface "
      "wrote, or a Marian model that save_pretrained wrote"
    )
  with pytest.raises(ConfigError, match="holds no model that can be read"):
    read_model(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_a_run_is_not_imported(trained, tmp_path):
  with pytest.raises(ConfigError, match="is the workdir of a run already; give it as --workdir"):
    import_run(str(trained), tmp_path / "run")
  assert not list(tmp_path.iterdir())


def test_a_run_without_checkpoints_is_still_one(run_copy):
  shutil.rmtree(run_copy / "checkpoints")
  with pytest.raises(CheckpointError, match="there is no checkpoint yet; train first"):
    transformer_jax.load(run_copy)


def test_a_config_of_another_kind_is_named(tmp_path):
  (tmp_path / "config.json").write_text('{"model_type": "bart"}')
  with pytest.raises(ConfigError, match=r"config\.json: model_type: is bart; import a Marian"):
    transformer_jax.load(tmp_path)


def test_a_reread_model_can_be_exported_again(folders, tmp_path):
  """With random numbers everywhere, also where a short training leaves zeros and ones."""
  run = transformer_jax.load(folders["workdir"])
  model = random_model(run.config, run.task.tokenizer)
  export_model(model, tmp_path / "first", Form("safetensors"))
  export_model(transformer_jax.load(tmp_path / "first"), tmp_path / "second", Form("safetensors"))
  (metadata, arrays), (again, arrays_again) = (
    read_arrays(tmp_path / name / "model.safetensors") for name in ("first", "second")
  )
  assert metadata == again and arrays.keys() == arrays_again.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(arrays_again[name], array)
