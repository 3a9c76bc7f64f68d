"""Checkpoints with damaged files are refused by step and file, and never read wrong."""

import itertools
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
from patience import PATIENCE

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.errors import CheckpointError

DAMAGES = 11


def damaged(content, other, rng):
  """Yields `DAMAGES` other contents of a file, or None for no file.

  `other` is the content of another step's file of that kind.
  """
  place = rng.randrange(len(content))
  start, end = sorted(rng.sample(range(len(content) + 1), 2))
  flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
  yield None
  yield b""
  yield content[:-1]
  yield content[:place]
  yield content + b"\0"
  yield content[:place] + flipped + content[place + 1 :]
  yield content[::-1] + b"x"
  yield rng.randbytes(len(content))
  if any(content[start:end]):
    yield content[:start] + bytes(end - start) + content[end:]
  else:
    yield bytes(len(content) + 1)
  yield content[:start] + content[end:]
  yield other if other != content else content + content


def files_of(step_folder):
  return sorted(path for path in step_folder.rglob("*") if path.is_file())


def replace(path, content):
  if content is None:
    path.unlink()
  else:
    path.write_bytes(content)


@pytest.mark.slow
def test_a_thousand_damaged_checkpoints(run_copy):
  folder = run_copy / "checkpoints"
  rng = random.Random(1)
  tried = 0
  reader = Checkpoints(folder, read_only=True)
  steps = reader.steps()
  whole = {step: reader.read(step)[0] for step in steps}
  for before, step in itertools.pairwise(steps):
    files = files_of(folder / str(step))
    others = files_of(folder / str(before))
    rounds = 1 + 1000 // (DAMAGES * len(files) * (len(steps) - 1))
    pairs = list(zip(files, itertools.cycle(others), strict=False))
    for path, other in pairs * rounds:
      content = path.read_bytes()
      for damage in damaged(content, other.read_bytes(), rng):
        replace(path, damage)
        with pytest.raises(CheckpointError, match=f"/{step}(/|:)") as error:
          reader.read(step)
        assert path.name in str(error.value) or path.name == "SHA256SUMS", (path, damage)
        tried += 1
        path.write_bytes(content)
    arrays, _, _ = reader.read(step)  # as it was again
    assert all(np.array_equal(arrays[name], whole[step][name]) for name in arrays)
  assert tried >= 1000, tried
  print(f"{tried} damaged checkpoints")


@pytest.mark.slow
def test_fifty_through_the_commands(run_copy, trained, tmp_path):
  """`digest` and `train` name the step and the file; `--on_corrupt=previous` goes back."""
  rng = random.Random(2)
  expected = digest(trained)
  latest = run_copy / "checkpoints" / "40"
  for number in range(50):
    path = rng.choice(files_of(latest))
    content = path.read_bytes()
    replace(path, list(damaged(content, b"other", rng))[number % DAMAGES])
    command = ["digest"] if number % 5 else ["train", *settings_of(run_copy)]
    result = run(*command, f"--workdir={run_copy}")
    assert result.returncode == 4 and len(result.stderr.splitlines()) == 1, (path, result.stderr)
    assert f"{latest}" in result.stderr, result.stderr
    assert path.name in result.stderr or path.name == "SHA256SUMS", (path, result.stderr)
    if number % 10 == 0:
      copy = shutil.copytree(run_copy, tmp_path / f"again{number}")
      command = ["train", *settings_of(run_copy), f"--workdir={copy}", "--on_corrupt=previous"]
      assert run(*command).returncode == 0
      assert digest(copy) == expected
    path.write_bytes(content)
  assert digest(run_copy) == expected


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "transformer_jax", *arguments],
    capture_output=True,
    text=True,
    check=False,
    timeout=PATIENCE,
  )


def digest(workdir):
  result = run("digest", f"--workdir={workdir}")
  assert result.returncode == 0, result.stderr
  return result.stdout.split()[0]


def settings_of(workdir):
  settings = json.loads((workdir / "config.json").read_text())["settings"]
  return [f"--{name}={value}" for name, value in settings.items()]
