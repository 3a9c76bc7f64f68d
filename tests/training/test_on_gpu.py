"""Training and search on a GPU give what they give on a CPU, and `--deterministic` the same bits.

JAX_PLATFORMS=cuda,cpu python -m pytest tests -k on_gpu
"""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_run
from patience import PATIENCE

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU is here")

ROOT = pathlib.Path(__file__).parents[2]
STREAM = pathlib.Path(__file__).with_name("device_stream.py")


def output_of(platform, *command, **environment):
  """Returns what Python prints on that platform."""
  path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  env = dict(os.environ, JAX_PLATFORMS=platform, PYTHONPATH=path, **environment)
  env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  finished = subprocess.run(
    [sys.executable, *map(str, command)],
    env=env,
    capture_output=True,
    text=True,
    timeout=PATIENCE,
    check=False,
  )
  assert finished.returncode == 0, finished.stderr[-3000:]
  return finished.stdout


def test_losses_are_those_of_a_cpu():
  exactly = dict(JAX_DEFAULT_MATMUL_PRECISION="highest")
  on_gpu, on_cpu = (
    np.array(output_of(platform, STREAM, 30, **exactly).split(), float)
    for platform in ("cuda", "cpu")
  )
  np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-4)
  assert on_gpu[-1] < on_gpu[0]


def train(workdir, **settings):
  """Trains the tiny run on the GPU; returns the digest of its state."""
  command = ("-m", "transformer_jax")
  flags = tiny_run.flags(deterministic=True, workdir=workdir, **settings)
  output_of("cuda", *command, "train", *flags)
  return output_of("cuda", *command, "digest", f"--workdir={workdir}")


@pytest.mark.parametrize(
  "dtype, kernel", [("float32", "xla"), ("bfloat16", "fused"), ("bfloat16", "cudnn")]
)
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(dtype, kernel, tmp_path):
  settings = dict(dtype=dtype, attention_kernel=kernel)
  whole = train(tmp_path / "whole", **settings)
  assert train(tmp_path / "again", **settings) == whole
  train(tmp_path / "resumed", train_steps=20, **settings)
  assert train(tmp_path / "resumed", **settings) == whole


def test_translations_are_those_of_a_cpu(tmp_path):
  train(tmp_path / "run", train_steps=120)
  text = tmp_path / "in.txt"
  text.write_text("forty two\nsix hundred seven\nnine\none hundred one\n")
  translate = ("-m", "transformer_jax", "translate", f"--workdir={tmp_path / 'run'}")
  answers = [
    output_of(platform, *translate, f"--input={text}", JAX_DEFAULT_MATMUL_PRECISION="highest")
    for platform in ("cuda", "cpu")
  ]
  assert answers[0] == answers[1]
