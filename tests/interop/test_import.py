"""`import` of Marian folders that are written by hand: values, files, and every refusal."""

import json
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import marian_folder as marian
import numpy as np
import pytest
import sentencepiece

import transformer_jax
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.cli import main
from transformer_jax.config import Config
from transformer_jax.data.tokenizers.folder import load_tokenizer, train_tokenizer
from transformer_jax.errors import ConfigError, DataError, TransformerJaxError, WorkdirError
from transformer_jax.interop import import_run as import_module
from transformer_jax.interop.import_run import import_run
from transformer_jax.interop.marian import read_marian
from transformer_jax.interop.marian_tensors import read_tensors
from transformer_jax.runs.train import train

PAD, EOS, UNK = 0, 1, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("marian") / "model"
  marian.write_marian(path)
  return path


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
  path = tmp_path_factory.mktemp("runs") / "imported"
  import_run(str(folder), path)
  return path


@pytest.fixture(scope="module")
def model(run):
  return transformer_jax.load(run, max_extra_length=4)


@pytest.fixture
def copy(folder, tmp_path):
  """A folder that a test may spoil."""
  return shutil.copytree(folder, tmp_path / "model")


def vocabulary_of(folder):
  return json.loads((folder / "vocab.json").read_text())


def logits_as_marian_has_them(folder, source, target):
  """Returns the logits [T, C] of Marian's ids, in float64, in Marian's own layout."""
  tensors = {
    name: array.astype(np.float64)
    for name, array in read_tensors(folder / "model.safetensors").items()
  }
  shared_CD = tensors["model.shared.weight"]
  heads, head_width = marian.HEADS, marian.WIDTH // marian.HEADS

  def dense(x, name):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

  def norm(x, name):
    centered = x - x.mean(-1, keepdims=True)
    normal = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return normal * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

  def attend(x, memory, name, is_causal=False):
    outputs = np.zeros(x.shape)
    query, key, value = (
      dense(inputs, f"{name}.{letter}_proj")
      for inputs, letter in ((x, "q"), (memory, "k"), (memory, "v"))
    )
    for head in range(heads):
      part = slice(head * head_width, (head + 1) * head_width)
      scores = query[:, part] @ key[:, part].T / np.sqrt(head_width)
      if is_causal:
        scores[np.triu_indices(len(x), 1)] = -np.inf
      weights = np.exp(scores - scores.max(-1, keepdims=True))
      outputs[:, part] = weights / weights.sum(-1, keepdims=True) @ value[:, part]
    return dense(outputs, f"{name}.out_proj")

  def embed(ids):
    half = marian.WIDTH // 2
    angles = np.arange(len(ids))[:, None] * 10000.0 ** (-2 * np.arange(half) / marian.WIDTH)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return shared_CD[ids] * np.sqrt(marian.WIDTH) + table

  def feed_forward(x, name):
    hidden = dense(x, f"{name}.fc1")
    return dense(hidden / (1 + np.exp(-hidden)), f"{name}.fc2")

  x = embed(source)
  for number in range(marian.LAYERS):
    layer = f"model.encoder.layers.{number}"
    x = norm(x + attend(x, x, f"{layer}.self_attn"), f"{layer}.self_attn_layer_norm")
    x = norm(x + feed_forward(x, layer), f"{layer}.final_layer_norm")
  memory, x = x, embed([len(shared_CD) - 1, *target[:-1]])
  for number in range(marian.LAYERS):
    layer = f"model.decoder.layers.{number}"
    x = norm(x + attend(x, x, f"{layer}.self_attn", True), f"{layer}.self_attn_layer_norm")
    x = norm(x + attend(x, memory, f"{layer}.encoder_attn"), f"{layer}.encoder_attn_layer_norm")
    x = norm(x + feed_forward(x, layer), f"{layer}.final_layer_norm")
  return x @ shared_CD.T + tensors["final_logits_bias"][0]


def our_logits(model, source, target):
  arguments = (jnp.array([source], jnp.int32), jnp.array([target], jnp.int32))
  apply = jax.jit(lambda params, *tokens: model.model.apply({"params": params}, *tokens))
  return np.asarray(apply(model.params, *arguments))[0]


def test_logits_are_those_of_marians_layout(model, folder):
  order = model.task.tokenizer.marian_order()
  source, target = [5, 9, UNK, 30, 12, 7, EOS], [8, 3, 41, EOS]
  theirs = [[order[token] for token in tokens] for tokens in (source, target)]
  expected_TC = logits_as_marian_has_them(folder, *theirs)[:, order]
  found_TC = our_logits(model, source, target)
  assert np.abs(found_TC - expected_TC).max() < 1e-5 * np.abs(expected_TC).max()


def test_ids_are_those_of_each_sides_model(model, folder):
  vocabulary, order = vocabulary_of(folder), model.task.tokenizer.marian_order()
  assert order[:3] == [len(vocabulary) - 1, 0, 1] and sorted(order) == sorted(vocabulary.values())
  sides = (("source", marian.SOURCE_WORDS, model.task.encode_source),
           ("target", marian.TARGET_WORDS, model.task.encode_target))  # fmt: skip
  num_unknown = 0
  for name, words, encode in sides:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
    for text in [*marian.sentences(words, 30, 5), "漢字 the"]:
      pieces = processor.encode(text, out_type=str)
      expected = [vocabulary.get(piece, vocabulary["<unk>"]) for piece in pieces]
      num_unknown += expected.count(vocabulary["<unk>"])
      for beginning, first in (("", []), (">>deu<<", [vocabulary[">>deu<<"]]), (">>xx<<", [1])):
        assert [order[token] for token in encode(beginning + text)] == [*first, *expected, 0]
  assert num_unknown > 10
  text = "the frog 漢"
  assert model.task.encode_source(text) != model.task.encode_target(text)
  # Text that spells a special piece, and an unfinished language token, are plain text.
  assert EOS not in model.task.encode_source("</s> <pad> >>deu<<")[:-1]
  assert model.task.encode_source(">>deu")[:-1]


def test_decoding_drops_marks_and_unknown_pieces(model):
  tokenizer = model.task.tokenizer
  only_source = [
    number
    for number, piece in enumerate(tokenizer.pieces(range(tokenizer.vocab_size)))
    if piece == "▁teacher"[: len(piece)] and piece.startswith("▁t")
  ]
  assert only_source
  text = tokenizer.decode([*only_source, UNK, PAD, EOS, 5])
  assert text and "▁" not in text and text == text.strip()
  assert tokenizer.decode([]) == tokenizer.decode([EOS, 7]) == ""
  for sentence in marian.sentences(marian.TARGET_WORDS, 20, 9):
    tokens = tokenizer.encode(sentence, is_target=True)
    if UNK not in tokens:
      assert tokenizer.decode(tokens) == sentence


def test_settings_are_those_of_the_folder(run, model):
  config = model.config
  assert (config.model.num_layers, config.model.d_k, config.model.activation) == (3, 16, "swish")
  assert config.model.attention_bias and config.model.output_bias
  assert config.model.layer_norm_epsilon == 1e-5
  assert (config.decode.beam_size, config.decode.length_penalty_form) == (4, "power")
  assert (config.data.source_language, config.data.target_language) == ("eng", "deu")
  assert model.steps == [0] and "imported from" in (run / "log.txt").read_text()


def test_lines_are_translated_and_scored(model):
  assert len(model.translate(marian.lines(6))) == 6
  found = model.attention(">>deu<< the frog", "der frosch")
  assert found["source"][0] == ">>deu<<" and found["cross"].shape[:2] == (3, 4)
  ((log_prob, length),) = model.log_probs([("the frog", "der frosch")])
  target = model.task.encode_target("der frosch")
  logits_TC = our_logits(model, model.task.encode_source("the frog"), target)
  by_hand = jax.nn.log_softmax(logits_TC)[np.arange(length), target].sum()
  assert log_prob == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize("dtype, tolerance", [("F16", 1e-3), ("BF16", 1e-2)])
def test_half_precision_is_widened(tmp_path, dtype, tolerance):
  tensors = marian.write_marian(tmp_path / "half", dtype=dtype)
  found = read_tensors(tmp_path / "half" / "model.safetensors")
  for name, array in tensors.items():
    assert found[name].dtype == np.float32
    np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance / 100)


def test_biases_that_are_all_zero_are_left_out(copy):
  tensors = read_tensors(copy / "model.safetensors")
  for name in tensors:
    if name.endswith("_proj.bias") or name == "final_logits_bias":
      tensors[name] = np.zeros_like(tensors[name])
  marian.write_tensors(copy / "model.safetensors", tensors)
  found = read_marian(copy)
  assert not found.config.model.attention_bias and not found.config.model.output_bias
  paths = [str(path) for path, _ in jax.tree_util.tree_leaves_with_path(found.params)]
  biases = [path for path in paths if "bias" in path and "norm" not in path]
  assert len(biases) == 2 * marian.LAYERS * 2 and all("feed_forward" in path for path in biases)


def with_settings(folder, **settings):
  config = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**config, **settings}))


def with_tensors(folder, change):
  tensors = dict(read_tensors(folder / "model.safetensors"))
  change(tensors)
  marian.write_tensors(folder / "model.safetensors", tensors)


def test_a_matrix_under_several_names_is_taken_once(copy):
  expected = read_marian(copy).params["shared_embedding"]["embedding"]

  def as_old_releases(tensors):
    shared = tensors.pop("model.shared.weight")
    tensors["lm_head.weight"] = tensors["model.decoder.embed_tokens.weight"] = shared
    half = marian.WIDTH // 2
    angles = np.arange(512)[:, None] * 10000.0 ** (-2 * np.arange(half) / marian.WIDTH)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    tensors["model.encoder.embed_positions.weight"] = table

  with_tensors(copy, as_old_releases)
  np.testing.assert_array_equal(read_marian(copy).params["shared_embedding"]["embedding"], expected)


@pytest.mark.parametrize(
  "sharing, settings",
  [
    ("target", dict(share_encoder_decoder_embeddings=False)),
    ("none", dict(share_encoder_decoder_embeddings=False, tie_word_embeddings=False)),
  ],
)
def test_embeddings_that_are_not_shared(copy, sharing, settings):
  def separate(tensors):
    target = tensors.pop("model.shared.weight")
    tensors["model.decoder.embed_tokens.weight"] = target
    tensors["model.encoder.embed_tokens.weight"] = 2 * target
    if sharing == "none":
      tensors["lm_head.weight"] = 3 * target

  shared = read_marian(copy).params["shared_embedding"]["embedding"]
  with_settings(copy, **settings)
  with_tensors(copy, separate)
  found = read_marian(copy)
  assert found.config.model.embedding_sharing == sharing
  np.testing.assert_array_equal(found.params["target_embedding"]["embedding"], shared)
  np.testing.assert_array_equal(found.params["source_embedding"]["embedding"], 2 * shared)
  if sharing == "none":
    np.testing.assert_array_equal(found.params["output_projection"]["kernel"], 3 * shared.T)


SETTINGS_REFUSED = {
  "decoder_layers": (
    6,
    "encoder_layers 3, decoder_layers 6: differ, but the two stacks have one form here; such a",
  ),
  "decoder_ffn_dim": (64, "encoder_ffn_dim 96, decoder_ffn_dim 64: differ"),
  "decoder_attention_heads": (8, "encoder_attention_heads 4, decoder_attention_heads 8: differ"),
  "scale_embedding": (
    False,
    "scale_embedding false: embeddings are multiplied by sqrt(d_model) here",
  ),
  "normalize_before": (
    True,
    "normalize_before true: only norms after each sub-layer can be imported; such",
  ),
  "normalize_embedding": (
    True,
    "normalize_embedding true: there is no norm after the embeddings here",
  ),
  "add_final_layer_norm": (
    True,
    "add_final_layer_norm true: there is no norm after the last layer here",
  ),
  "static_position_embeddings": (
    False,
    "static_position_embeddings false: only the paper's sinusoids can be imported",
  ),
  "model_type": ("bart", "model_type: is bart; import a Marian model"),
  "activation_function": ("tanh", "activation_function tanh: is not one of relu, swish"),
  "decoder_start_token_id": (2, "decoder_start_token_id 2: is not pad_token_id"),
  "decoder_vocab_size": (5, "decoder_vocab_size 5: is not the number of pieces in vocab.json"),
  "dropout": ("0.1", 'dropout: is "0.1", not a number'),
  "max_position_embeddings": ("512", 'max_position_embeddings: is "512", not a whole number'),
  "tie_word_embeddings": ("no", 'tie_word_embeddings: is "no", neither true nor false'),
  "eos_token_id": (3, "eos_token_id 3: is not the id in vocab.json, 0"),
  "d_model": ("wide", 'd_model: is "wide", not a number above 0; fetch or write it again'),
}


@pytest.mark.parametrize("name", SETTINGS_REFUSED)
def test_a_setting_that_cannot_be_expressed_is_named(copy, name):
  value, message = SETTINGS_REFUSED[name]
  with_settings(copy, **{name: value})
  refused(copy, ConfigError, f"config.json: {message}")


@pytest.mark.parametrize("value", [10**9, 10**30])
def test_a_width_beyond_all_memory_is_refused_before_anything_is_made(copy, value):
  with_settings(copy, d_model=value)
  refused(copy, ConfigError, f"cannot be expressed: --d_model: {value} is too large")
  with_settings(copy, d_model=marian.WIDTH, activation_function=["swish"])
  refused(copy, ConfigError, "activation_function ['swish']: is not one of relu")


def test_settings_that_are_null_or_missing_are_those_of_transformers(copy):
  with_settings(copy, dropout=None, max_position_embeddings=None, num_beams=3)
  (copy / "generation_config.json").write_text('{"length_penalty": null, "bad_words_ids": 5}')
  found = read_marian(copy)
  assert (found.config.model.dropout_rate, found.config.decode.max_source_length) == (0.1, 512)
  assert (found.config.decode.length_penalty, found.config.decode.beam_size) == (1.0, 3)
  assert "bad_words_ids forbids more than PAD" in found.notes[0]


def refused(folder, error, message):
  workdir = folder.parent / "run"
  with pytest.raises(TransformerJaxError) as caught:
    import_run(str(folder), workdir)
  assert isinstance(caught.value, error) and message in str(caught.value), caught.value
  assert sorted(folder.parent.iterdir()) == [folder]


def test_what_generate_does_beyond_our_search_is_said(copy):
  settings = dict(early_stopping=True, no_repeat_ngram_size=3, repetition_penalty=1.0)
  (copy / "generation_config.json").write_text(json.dumps(settings))
  found = read_marian(copy)
  assert found.config.decode.early_stopping == "first"
  (note,) = [note for note in found.notes if "not taken over" in note]
  assert "no_repeat_ngram_size is 3" in note


def remove(name):
  return lambda tensors: tensors.pop(name)


def put(name, array):
  return lambda tensors: tensors.update({name: array})


def scale_row(tensors):
  tensors["model.shared.weight"] = tensors["model.shared.weight"] + 0.1


ONE = np.ones((1, 1), np.float32)
TENSORS_REFUSED = {
  "missing": (
    remove("model.encoder.layers.1.fc1.bias"),
    "model.safetensors: lacks model.encoder.layers.1.fc1.bias",
  ),
  "left over": (put("model.encoder.layer_norm.weight", ONE), "has model.encoder.layer_norm.weight"),
  "shape": (
    put("model.decoder.layers.0.fc2.bias", ONE),
    "model.decoder.layers.0.fc2.bias is 1 x 1, but config.json makes it 64",
  ),
  "not finite": (
    put("model.decoder.layers.0.fc2.bias", np.full(64, np.nan, np.float32)),
    "has numbers that are not finite",
  ),
  "no matrix": (remove("model.shared.weight"), "lacks model.shared.weight"),
  "another matrix": (
    lambda tensors: tensors.update({"lm_head.weight": 2 * tensors["model.shared.weight"]}),
    "lm_head.weight and model.shared.weight differ",
  ),
  "PAD": (scale_row, "the row of PAD, from which the decoder starts, is not zero"),
  "positions": (
    put("model.encoder.embed_positions.weight", np.zeros((9, 64), np.float32)),
    "model.encoder.embed_positions.weight is not the paper's table",
  ),
}


@pytest.mark.parametrize("name", TENSORS_REFUSED)
def test_arrays_that_do_not_fit_are_named(copy, name):
  change, message = TENSORS_REFUSED[name]
  with_tensors(copy, change)
  refused(copy, TransformerJaxError, message)


def test_a_pickle_is_not_read(copy):
  (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
  refused(copy, TransformerJaxError, "pytorch_model.bin is a pickle, which may run any code")
  (copy / "pytorch_model.bin").unlink()
  refused(copy, TransformerJaxError, "model.safetensors: is missing; load it with transformers")


@pytest.mark.parametrize("size", [0, 5, 300, -3])
def test_a_cut_file_of_arrays_is_refused(copy, size):
  path = copy / "model.safetensors"
  path.write_bytes(path.read_bytes()[:size])
  refused(copy, TransformerJaxError, "model.safetensors: is not a whole safetensors file")


@pytest.mark.parametrize(
  "name, content, message",
  [
    ("vocab.json", "[]", "vocab.json: is not a JSON object of pieces and ids"),
    ("vocab.json", '{"</s>": 0, "<unk>": 2}', "vocab.json: does not number its pieces from 0"),
    ("vocab.json", '{"</s>": 0, "<unk>": 1}', "vocab.json: has no piece <pad>"),
    ("vocab.json", '{"</s>": 0, "<unk>": 1.0, "<pad>": 2}', "does not number its pieces from 0"),
    ("target.spm", "no model", "target.spm: is not a SentencePiece model"),
    ("source.spm", "", "source.spm: is not a SentencePiece model"),
    ("generation_config.json", '{"num_beams": "4"}', 'num_beams: is "4", not a whole number'),
    ("generation_config.json", '{"num_beams": 0}', "cannot be expressed: --beam_size: 0 is too"),
    ("generation_config.json", '{"length_penalty": [1]}', "length_penalty: is [1], not a number"),
    ("generation_config.json", '{"length_penalty": NaN}', "--length_penalty: nan is not a finite"),
    ("config.json", "{", "config.json: is not a JSON object"),
    ("tokenizer_config.json", '{"separate_vocabs": true}', "separate_vocabs: is true"),
  ],
)
def test_a_damaged_file_is_named(copy, name, content, message):
  (copy / name).write_text(content)
  refused(copy, TransformerJaxError, message)


@pytest.mark.parametrize("name", ["vocab.json", "source.spm", "config.json"])
def test_a_missing_file_is_named(copy, name):
  (copy / name).unlink()
  refused(copy, TransformerJaxError, name)


def test_a_failed_write_leaves_nothing(copy, monkeypatch):
  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(Checkpoints, "save", full)
  refused(copy, WorkdirError, "No space left on device; free some space")


def test_an_existing_workdir_is_left_as_it_is(folder, run):
  before = sorted(path.name for path in run.iterdir())
  with pytest.raises(WorkdirError, match="exists already"):
    import_run(str(folder), run)
  with pytest.raises(WorkdirError, match="exists already"):  # before anything is read or fetched
    import_run("no/such-model", run)
  assert main.run(["import", "--from=nowhere", f"--workdir={run}"]) == 6
  assert sorted(path.name for path in run.iterdir()) == before


def test_an_imported_run_is_not_trained_in_place(run, tmp_path):
  config = Config.from_flat(json.loads((run / "config.json").read_text())["settings"])
  with pytest.raises(ConfigError, match=r"holds an imported model, .*--init_from="):
    train(config, run, tmp_path)


def test_the_tokenizer_is_saved_whole_and_not_learned(run, folder):
  tokenizer = load_tokenizer(run / "tokenizer")
  for name, content in tokenizer.files().items():
    assert content == (folder / name).read_bytes()
  data = Config.from_flat(json.loads((run / "config.json").read_text())["settings"]).data
  with pytest.raises(ConfigError, match="comes with an imported model and is not learned"):
    train_tokenizer(data, ["a text"])


def test_the_command_prints_json_and_heads_takes_files(folder, tmp_path, capsys):
  workdir = tmp_path / "run"
  assert main.run(["import", f"--from={folder}", f"--workdir={workdir}"]) == 0
  result = json.loads(capsys.readouterr().out.splitlines()[-1])
  tensors = read_tensors(folder / "model.safetensors")
  assert result["parameters"] == sum(tensor.size for tensor in tensors.values())
  assert result["vocab_size"] == len(vocabulary_of(folder))
  assert main.run(["import", f"--from={folder}"]) == 2
  assert main.run(["heads", f"--workdir={workdir}", f"--source={folder}"]) == 2
  assert "--reference: is missing" in capsys.readouterr().err
  assert main.run(["heads", f"--workdir={workdir}"]) == 3
  assert "give --source and --reference" in capsys.readouterr().err
  assert main.run(["doctor", f"--workdir={workdir}"]) == 0
  assert "an imported model is not resumed" in capsys.readouterr().out


def test_a_name_is_fetched_if_the_hub_can_be_reached(folder, tmp_path, monkeypatch):
  name = "Helsinki-NLP/opus-mt-en-de"
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ConfigError, match=r"needs huggingface_hub; .* or pip install"):
    import_run(name, tmp_path / "run")

  def fail(*_, local_files_only, **__):
    asked.append(not local_files_only)
    raise ConnectionError("no route to host\nmore")

  asked = []
  hub = types.SimpleNamespace(snapshot_download=fail)
  monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
  monkeypatch.setattr(import_module, "why_no_hub", lambda: None)
  with pytest.raises(DataError, match=r"cannot be fetched: no route to host; check the name"):
    import_run(name, tmp_path / "run")
  monkeypatch.setattr(import_module, "why_no_hub", lambda: "no network")
  with pytest.raises(DataError, match=r"cannot be reached \(no network\); .* run hf download Hels"):
    import_run(name, tmp_path / "run")
  assert asked == [True, False]
  with pytest.raises(ConfigError, match="is not a folder"):
    import_run("no-such-folder", tmp_path / "run")
  assert not list(tmp_path.iterdir())
  hub.snapshot_download = lambda asked, **_: {name: folder}[asked]
  assert import_run(name, tmp_path / "run")["from"] == name
