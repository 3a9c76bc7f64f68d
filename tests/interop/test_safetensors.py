"""A run through `export --format=safetensors` and `import`: equal to the bit, whole or refused."""

import json
import shutil

import numpy as np
import pytest
from random_models import random_model
from tiny_run import flags

import transformer_jax
from transformer_jax.checkpoints.leaves import named_leaves
from transformer_jax.checkpoints.quantization import rounded
from transformer_jax.cli.main import run as command_line
from transformer_jax.data.tokenizers.folder import (
  fingerprint,
  load_tokenizer,
  train_parsing_tokenizer,
  train_tokenizer,
)
from transformer_jax.errors import CheckpointError, ConfigError, DataError, TransformerJaxError
from transformer_jax.interop.checks import Form
from transformer_jax.interop.export import export_model
from transformer_jax.interop.import_run import import_run
from transformer_jax.interop.safetensors import read, read_arrays, write_arrays
from transformer_jax.runs.digest import params_digest

pytest.importorskip("safetensors", reason="needs the package safetensors")

FILE = "model.safetensors"
TEXTS = ["forty two", "six", "x y ß"]
GONE = {
  f"{split}_{side}": "gone.txt" for split in ("train", "valid") for side in ("source", "target")
}
FAST = dict(beam_size=1, max_extra_length=4)
FAST_FLAGS = [f"--{name}={value}" for name, value in FAST.items()]
TREE = "(TOP (S (NP (DT the) (NN cat)) (VP (VBD sat))))"


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
  """The folder of the tiny run; it is only read."""
  folder = tmp_path_factory.mktemp("exported") / "out"
  export_model(transformer_jax.load(trained), folder, Form("safetensors"))
  return folder


@pytest.fixture(scope="module")
def imported(exported, tmp_path_factory):
  """The workdir of the run that it became."""
  workdir = tmp_path_factory.mktemp("imported") / "run"
  import_run(str(exported), workdir)
  return workdir


@pytest.fixture
def copy(exported, tmp_path):
  """A folder that a test may spoil."""
  return shutil.copytree(exported, tmp_path / "model")


def digest_of(model):
  return params_digest(dict(named_leaves(model.params)))


def printed(capsys, *arguments, code=0):
  """Runs a command; returns the last line of what it printed, if any, or the error's line."""
  assert command_line([str(argument) for argument in arguments]) == code
  output = capsys.readouterr()
  return ((output.err if code else output.out).splitlines() or [""])[-1]


@pytest.mark.parametrize("average_last", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_comes_back_to_the_bit(trained, tmp_path, average_last, capsys):
  export = ["export", "--format=safetensors"]
  out, back, again = (tmp_path / "new" / name for name in ("out", "back", "again"))
  average = f"--average_last={average_last}"
  flags = [average, f"--workdir={trained}", f"--output={out}", *FAST_FLAGS]
  assert printed(capsys, *export, *flags) == str(out)
  assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
  model = transformer_jax.load(trained, average_last=average_last, **FAST)
  result = json.loads(printed(capsys, "import", f"--from={out}", f"--workdir={back}"))
  assert result["params_sha256"] == digest_of(model)
  assert (result["step"], result["vocab_size"]) == (40, model.task.target_vocab_size)
  assert result["parameters"] == sum(array.size for array in model.parameters().values())
  found = transformer_jax.load(back)
  assert digest_of(found) == digest_of(model) and found.steps == [40]
  assert found.config == model.config.replace(average_last=1)
  assert fingerprint(found.task.tokenizer) == fingerprint(model.task.tokenizer)
  assert found.translate(TEXTS) == model.translate(TEXTS)
  assert ("average of steps 30, 40" in (back / "log.txt").read_text()) == (average_last == 2)
  printed(capsys, *export, f"--workdir={back}", f"--output={again}")
  assert digest_of(transformer_jax.load(again)) == digest_of(model)
  if average_last == 1:
    assert read_arrays(again / FILE)[0] == read_arrays(out / FILE)[0]


def test_the_header_is_the_documented_one(exported, trained):
  content = (exported / FILE).read_bytes()
  header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
  metadata = header.pop("__metadata__")
  assert metadata["format"] == "np" and metadata["step"] == "40" and metadata["steps"] == "[40]"
  assert metadata["params_sha256"] == digest_of(transformer_jax.load(trained))
  assert json.loads(metadata["settings"])["d_model"] == 32
  assert header["encoder.layer_0.self_attention.query.kernel"]["shape"] == [32, 2, 16]
  assert header["shared_embedding.embedding"]["dtype"] == "F32"


@pytest.mark.parametrize(
  "quantization, dtype, share", [("int8", "I8", 0.4), ("float16", "F16", 0.6)]
)
def test_rounded_matrices_come_back_as_they_were_rounded(
  quantization, dtype, share, trained, exported, tmp_path
):
  out = tmp_path / "out"
  model = transformer_jax.load(trained)
  export_model(model, out, Form("safetensors", quantization))
  content = (out / FILE).read_bytes()
  assert len(content) < share * (exported / FILE).stat().st_size
  header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
  assert header["shared_embedding.embedding"]["dtype"] == dtype
  found = transformer_jax.load(out).parameters()
  for name, array in rounded(model.parameters(), quantization).items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)
  assert "rounded to" in (out / "README.md").read_text()
  # A flipped bit is noticed.
  (out / FILE).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
  with pytest.raises(CheckpointError, match="not those that were written"):
    transformer_jax.load(out)


def test_a_header_of_an_older_version_is_read(copy, exported):
  """Without the SHA-256, and without settings that were added later."""

  def older(metadata, _):
    settings = json.loads(metadata["settings"])
    del metadata["params_sha256"], settings["activation"]
    metadata["settings"] = json.dumps(settings)

  rewrite(copy, older)
  assert read(copy).config == read(exported).config


def test_commands_go_on_with_an_imported_run(imported, tmp_path, capsys):
  source, target = tmp_path / "source", tmp_path / "target"
  source.write_text("one\nforty two\n")
  target.write_text("eins\nzweiundvierzig\n")
  workdir, files = f"--workdir={imported}", (f"--source={source}", f"--reference={target}")
  result = json.loads(printed(capsys, "evaluate", workdir, *files, *FAST_FLAGS))
  assert result["steps"] == [40] and result["sentences"] == 2
  printed(capsys, "score", workdir, files[0], f"--target={target}")
  shown = [f"--output={tmp_path}/shown", "--source=one", "--target=eins", "--figures=false"]
  printed(capsys, "attention", workdir, *shown)
  assert (tmp_path / "shown" / "attention.html").exists()
  printed(capsys, "doctor", workdir)


def test_an_imported_run_is_trained_further_elsewhere(imported, trained, tmp_path, capsys):
  tiny = flags(train_steps=41)
  line = printed(capsys, "train", f"--workdir={imported}", *tiny, code=2)
  assert "holds an imported model, which stays as it is; train a copy" in line
  (imported_copy := tmp_path / "copy").mkdir()
  shutil.copytree(imported / "checkpoints", imported_copy / "checkpoints")
  line = printed(capsys, "train", f"--workdir={imported_copy}", *tiny, code=2)
  assert "holds an imported model" in line
  tuned, begin = tmp_path / "tuned", f"--init_from={imported}"
  printed(capsys, "train", f"--workdir={tuned}", begin, *flags(train_steps=1))
  record = json.loads((tuned / "config.json").read_text())["initialized_from"]
  assert record["params_sha256"] == digest_of(transformer_jax.load(trained))


def test_the_text_need_not_exist(trained, tmp_path, capsys, monkeypatch):
  run = transformer_jax.load(trained)
  settings = dict(data_source="text", tokenizer="subword_nmt", bpe_merges=20, **GONE)
  tokenizer = train_tokenizer(run.config.replace(**settings).data, TEXTS * 3)
  model = random_model(run.config, tokenizer, **settings, **FAST)
  export_model(model, tmp_path / "out", Form("safetensors"))
  monkeypatch.chdir(tmp_path)
  printed(capsys, "import", "--from=out", "--workdir=run")
  assert transformer_jax.load("run").translate(TEXTS) == model.translate(TEXTS)
  printed(capsys, "doctor", "--workdir=run")
  line = printed(capsys, "evaluate", "--workdir=run", "--split=valid", code=3)
  assert "there is no file" in line and "gone.txt" in line
  line = printed(capsys, "train", "--workdir=run", "--data_source=text",
                 *(f"--{name}=gone.txt" for name in GONE), code=2)  # fmt: skip
  assert "holds an imported model" in line


def test_a_parser_comes_back(trained, tmp_path, capsys):
  config = transformer_jax.load(trained).config
  settings = dict(task="parsing", data_source="grammar", embedding_sharing="target")
  data = config.replace(**settings, vocab_size=40).data
  pairs = [("the cat sat", TREE), ("a dog sat on the mat", TREE)]
  tokenizer = train_parsing_tokenizer(data, *zip(*pairs, strict=True))
  model = random_model(config, tokenizer, **settings, **FAST)
  export_model(model, tmp_path / "out", Form("safetensors"))
  result = json.loads(
    printed(capsys, "import", f"--from={tmp_path}/out", f"--workdir={tmp_path}/run")
  )
  assert result["params_sha256"] == digest_of(model)
  sentences = ["the cat sat", "a mat"]
  expected = model.translate(sentences)
  (tmp_path / "in").write_text("\n".join(sentences) + "\n")
  parse = ["parse", f"--workdir={tmp_path}/run", f"--input={tmp_path}/in", "--tokenized_input"]
  assert command_line([*parse, f"--output={tmp_path}/trees"]) == 0
  assert (tmp_path / "trees").read_text().splitlines() == expected
  assert transformer_jax.load(tmp_path / "out").translate(sentences) == expected
  assert all(expected)


# Folders that were changed.


def rewrite(folder, change):
  """Changes the header and the arrays of the file."""
  metadata, arrays = read_arrays(folder / FILE)
  change(metadata, arrays)
  write_arrays(folder / FILE, arrays, metadata)


def put(name, value):
  return lambda metadata, _: metadata.update({name: value})


def put_settings(**values):
  return lambda metadata, _: metadata.update(
    settings=json.dumps({**json.loads(metadata["settings"]), **values})
  )


BIAS = "encoder.layer_0.feed_forward.inner.bias"
ZEROS = np.zeros(32, np.float32)


def put_bias(array):
  return lambda _, arrays: arrays.update({BIAS: array})


CHANGES = {
  "missing": (
    lambda _, arrays: arrays.pop(BIAS),
    CheckpointError,
    f"{BIAS} is missing in the checkpoint, and float32[32] in this model; export the run again",
  ),
  "left over": (
    lambda _, arrays: arrays.update(more=ZEROS),
    CheckpointError,
    "more is float32[32] in the checkpoint, and missing in this model",
  ),
  "inside another": (
    lambda _, arrays: arrays.update({f"{BIAS}.more": ZEROS}),
    CheckpointError,
    f"{BIAS}.more is float32[32] in the checkpoint, and missing",
  ),
  "shape": (put_bias(ZEROS[:31]), CheckpointError, f"{BIAS} is float32[31]"),
  "dtype": (put_bias(ZEROS.astype(np.float16)), CheckpointError, f"{BIAS} is float16[32]"),
  "not finite": (put_bias(ZEROS + np.nan), CheckpointError, f"{BIAS} has numbers that are not"),
  "other numbers": (put_bias(ZEROS + 1), CheckpointError, "its arrays are not those that were"),
  "no settings": (
    lambda metadata, _: metadata.pop("settings"),
    ConfigError,
    "has no settings of ours, and there is no config.json of a Marian model",
  ),
  "no JSON": (put("settings", "{"), ConfigError, "the settings in its header are damaged"),
  "nested": (put("settings", "[" * 100_000), ConfigError, "the settings in its header are damaged"),
  "no object": (put("settings", "[]"), ConfigError, "has no settings"),
  "unknown setting": (put_settings(depth=3), ConfigError, "has an unknown setting: depth"),
  "wrong setting": (put_settings(d_model="x"), ConfigError, "--d_model: 'x' is not of type int"),
  "other sizes": (put_settings(d_ff=33), CheckpointError, "inner.bias is float32[32] in"),
  "other tokenizer": (
    put_settings(data_source="text", tokenizer="subword_nmt", **GONE),
    DataError,
    "tokenizer.json: is of kind sentencepiece, and model.safetensors needs subword_nmt",
  ),
  "no steps": (put("steps", "[]"), ConfigError, "the steps in its header are damaged"),
  "wrong steps": (put("steps", '["40"]'), ConfigError, "the steps in its header are damaged"),
  "steps not JSON": (put("steps", "40,"), ConfigError, "the settings in its header are damaged"),
}


def refused(folder, error, message, file=FILE):
  """Checks that `import` and `load` refuse it in a line that names the file, and write nothing."""
  workdir = folder.parent / "run"
  for call in (lambda: import_run(str(folder), workdir), lambda: transformer_jax.load(folder)):
    with pytest.raises(TransformerJaxError) as caught:
      call()
    line = str(caught.value)
    assert type(caught.value) is error and message in line, caught.value
    assert line.startswith(f"{folder}/") and file in line and "\n" not in line
  assert sorted(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused(copy, name):
  change, error, message = CHANGES[name]
  rewrite(copy, change)
  refused(copy, error, message)


@pytest.mark.parametrize("size", [0, 5, 300, -3])
def test_a_cut_file_is_refused(copy, size):
  path = copy / FILE
  path.write_bytes(path.read_bytes()[:size])
  refused(copy, CheckpointError, "is not a whole safetensors file")


def test_a_file_that_cannot_be_read_is_named(copy):
  (copy / FILE).unlink()
  (copy / FILE).mkdir()
  refused(copy, CheckpointError, FILE)


@pytest.mark.parametrize(
  "name, content, message",
  [
    ("tokenizer.json", None, "cannot be read"),
    ("tokenizer.json", b"{", "is not a tokenizer's list of files"),
    ("sentencepiece.model", None, "cannot be read"),
    ("sentencepiece.model", b"x", "has changed since the tokenizer was made"),
  ],
)
def test_a_damaged_tokenizer_is_named(copy, name, content, message):
  (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
  refused(copy, DataError, message, name)


def test_exit_codes_of_the_command(copy, capsys):
  command = ["import", f"--from={copy}", f"--workdir={copy.parent}/run"]
  (copy / "tokenizer.json").rename(copy / "kept")
  assert "tokenizer.json: cannot be read" in printed(capsys, *command, code=3)
  (copy / "kept").rename(copy / "tokenizer.json")
  rewrite(copy, put("settings", "{"))
  printed(capsys, *command, code=2)
  (copy / FILE).write_bytes(b"")
  printed(capsys, *command, code=4)
  assert sorted(copy.parent.iterdir()) == [copy]


def test_the_tokenizer_beside_it_is_a_saved_one(exported, trained):
  tokenizer = load_tokenizer(exported)
  assert fingerprint(tokenizer) == fingerprint(load_tokenizer(trained / "tokenizer"))
