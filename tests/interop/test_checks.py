"""What cannot be exported is refused in one line, before anything is loaded or written."""

import importlib.util
import subprocess
import sys

import pytest

import transformer_jax
from transformer_jax.cli.main import run as command_line
from transformer_jax.config import Config
from transformer_jax.errors import ConfigError
from transformer_jax.interop.checks import PACKAGES, Form, check
from transformer_jax.interop.export import export_model

TEXT = dict(data_source="text", train_source="a", train_target="b", valid_source="c")
TEXT["valid_target"] = "d"
PARSING = dict(task="parsing", data_source="grammar", embedding_sharing="target")
REFUSALS = [
  (dict(norm="pre"), "--norm=pre: Marian normalizes after each sub-layer"),
  (
    dict(d_k=32),
    "--d_k=32: Marian's heads have the width d_model / num_heads = 64",
  ),
  (
    dict(d_v=128),
    "--d_v=128: Marian's heads have the width d_model / num_heads = 64",
  ),
  (dict(positions="learned"), "--positions=learned: Marian computes the paper's sinusoids"),
  (dict(positions="none"), "--positions=none: Marian computes the paper's sinusoids"),
  (
    dict(positions="sinusoidal_concatenated"),
    "--positions=sinusoidal_concatenated: Marian computes the paper's sinusoids",
  ),
  (
    dict(tokenizer="subword_nmt", **TEXT),
    "--tokenizer=subword_nmt: a Marian tokenizer reads SentencePiece models",
  ),
  (
    dict(tokenizer="segmented", **TEXT),
    "--tokenizer=segmented: a Marian tokenizer reads SentencePiece models",
  ),
  (
    dict(preprocessing="moses", **TEXT),
    "--preprocessing=moses: a Marian tokenizer takes raw text",
  ),
]


@pytest.fixture(autouse=True)
def packages(monkeypatch):
  """All packages are there, as far as the checks see."""
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize("settings, problem", REFUSALS)
def test_marian_is_one_form_of_the_transformer(settings, problem):
  config = Config().replace(**settings)
  with pytest.raises(ConfigError) as refused:
    check(config, Form("huggingface"))
  assert str(refused.value) == f"{problem}; use --format=ctranslate2"
  check(config, Form("ctranslate2", "int8"))
  check(config, Form("safetensors"))


def test_settings_that_marian_can_express_pass():
  for settings in ({}, dict(embedding_sharing="none", dtype="bfloat16"), dict(dropout_rate=0.3)):
    check(Config().replace(**settings), Form("huggingface", is_untied=True))


@pytest.mark.parametrize("name", ["ctranslate2", "huggingface"])
def test_a_parser_translates_nothing(name):
  config = Config().replace(**PARSING)
  with pytest.raises(ConfigError) as refused:
    check(config, Form(name))
  assert str(refused.value) == (
    f"--task=parsing: --format={name} translates text; use --format=safetensors"
  )
  check(config, Form("safetensors"))


@pytest.mark.parametrize(
  "form, where",
  [
    (Form("onnx"), "--format=onnx"),
    (Form("ctranslate2", "int3"), "--quantization=int3"),
    (Form("huggingface", "int8"), "--quantization=int8"),
    (Form("safetensors", "int16"), "--quantization=int16"),
    (Form("ctranslate2", is_untied=True), "--untied"),
    (Form("safetensors", is_untied=True), "--untied"),
  ],
)
def test_options_that_a_format_lacks(form, where):
  with pytest.raises(ConfigError) as refused:
    check(Config(), form)
  assert refused.value.where == where and refused.value.remedy


@pytest.mark.parametrize("name", [name for name, package in PACKAGES.items() if package])
def test_a_missing_package_is_named_with_the_extra_that_installs_it(name, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
  with pytest.raises(ConfigError) as refused:
    check(Config(), Form(name))
  assert refused.value.problem == f"needs the package {PACKAGES[name]}"
  assert refused.value.remedy == f"pip install 'transformer_jax[{PACKAGES[name]}]'"


@pytest.mark.parametrize(
  "flags, code, message",
  [
    ([], 2, "--format: is missing"),
    (["--format=onnx"], 2, "--format=onnx: value should be one of"),
    (["--format=safetensors"], 2, "--output: is missing"),
    (["--format=safetensors", "--output={there}"], 6, "{there}: exists already; give --output"),
    (["--format=huggingface", "--output={new}", "--quantization=int8"], 2, "--quantization=int8"),
    (["--format=huggingface", "--output={new}", "--checkpoint=newest"], 2, "--checkpoint=newest"),
    (["--format=ctranslate2", "--output={new}", "--checkpoint=7"], 4, "there is no checkpoint"),
  ],
)
def test_errors_of_the_command_write_nothing(flags, code, message, trained, tmp_path, capsys):
  there = tmp_path / "there"
  there.mkdir()
  names = dict(there=there, new=tmp_path / "parent" / "new")
  flags = [flag.format(**names) for flag in flags]
  assert command_line(["export", f"--workdir={trained}", *flags]) == code
  (line,) = capsys.readouterr().err.splitlines()
  assert message.format(**names) in line
  assert list(tmp_path.rglob("*")) == [there]


def test_a_refusal_comes_before_jax_is_loaded(run_copy, tmp_path):
  code = (
    "import sys; from transformer_jax.cli.main import run; assert run(sys.argv[1:]) == 2; "
    "print(sorted({'jax', 'flax', 'ctranslate2', 'safetensors'} & set(sys.modules)))"
  )
  flags = [f"--workdir={run_copy}", "--format=huggingface", f"--output={tmp_path}/new", "--untied"]
  config = run_copy / "config.json"
  config.write_text(config.read_text().replace('"norm": "post"', '"norm": "pre"'))
  done = subprocess.run(
    [sys.executable, "-c", code, "export", *flags], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
  assert done.stderr.startswith("transformer-jax: --norm=pre: Marian normalizes")


def test_closed_heads_are_not_exported_as_if_they_were_open(trained, tmp_path):
  model = transformer_jax.load(trained)
  closed = model.with_heads_closed([("cross", 0, 1)])
  with pytest.raises(ConfigError, match="model: has closed heads, which no format has"):
    export_model(closed, tmp_path / "new", Form("safetensors"))
  assert not list(tmp_path.iterdir())
  assert not model.with_heads_closed([]).has_closed_heads
