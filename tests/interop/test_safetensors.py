"""Parameters through a safetensors file: equal to the bit."""

import json

import jax
import numpy as np
import pytest

import transformer_jax
from transformer_jax.cli.main import run as command_line
from transformer_jax.data.tokenizers.folder import fingerprint, load_tokenizer
from transformer_jax.errors import DataError

pytest.importorskip("safetensors", reason="needs the package safetensors")


@pytest.mark.parametrize("average_last", [1, 2])
def test_a_run_comes_back_to_the_bit(trained, tmp_path, average_last, capsys):
  from transformer_jax.interop.safetensors import read

  flags = ["--format=safetensors", f"--output={tmp_path}/new/out"]
  flags.append(f"--average_last={average_last}")
  assert command_line(["export", f"--workdir={trained}", *flags]) == 0
  assert capsys.readouterr().out == f"{tmp_path}/new/out\n"
  assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
  model = transformer_jax.load(trained, average_last=average_last)
  params, config, steps = read(tmp_path / "new" / "out")
  assert steps == model.steps and len(steps) == average_last
  assert config == model.config
  assert jax.tree.structure(params) == jax.tree.structure(model.params)
  for ours, theirs in zip(jax.tree.leaves(model.params), jax.tree.leaves(params), strict=True):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
  tokenizer = load_tokenizer(tmp_path / "new" / "out")
  assert fingerprint(tokenizer) == fingerprint(model.task.tokenizer)


def test_the_header_is_the_documented_one(trained, tmp_path):
  assert (
    command_line(
      ["export", f"--workdir={trained}", "--format=safetensors", f"--output={tmp_path}/out"]
    )
    == 0
  )
  content = (tmp_path / "out/model.safetensors").read_bytes()
  header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
  metadata = header.pop("__metadata__")
  assert metadata["format"] == "np" and metadata["step"] == "40"
  assert json.loads(metadata["settings"])["d_model"] == 32
  assert header["encoder.layer_0.self_attention.query.kernel"]["shape"] == [32, 2, 16]
  assert header["shared_embedding.embedding"]["dtype"] == "F32"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_other_files_are_refused(tmp_path, content):
  from transformer_jax.interop.safetensors import read

  with pytest.raises(DataError, match="cannot be read"):
    read(tmp_path)
  (tmp_path / "model.safetensors").write_bytes(content)
  with pytest.raises(DataError, match="is not an exported model"):
    read(tmp_path)


def test_a_file_of_another_program_is_refused(tmp_path):
  import safetensors.numpy

  from transformer_jax.interop.safetensors import read

  safetensors.numpy.save_file({"a": np.ones(2)}, tmp_path / "model.safetensors")
  with pytest.raises(DataError, match="'settings'; give a folder that export"):
    read(tmp_path)
