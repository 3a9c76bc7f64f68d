"""Checkpoints with every file damaged in many ways: refused by step and file, never read wrong."""

import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from transformer_jax.checkpoints import Checkpoints
from transformer_jax.errors import CheckpointError

DAMAGES = 11


def damaged(content, other, rng):
  """`DAMAGES` other contents of a file; None: no file. `other` is what another step's file of that kind holds."""
  place = rng.randrange(len(content))
  start, end = sorted(rng.sample(range(len(content) + 1), 2))
  flipped = (
    content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
  )
  yield from (
    None,
    b"",
    content[:-1],
    content[:place],
    content + b"\0",
    flipped,
    content[::-1] + b"x",
    rng.randbytes(len(content)),
    content[:start] + bytes(end - start) + content[end:]
    if any(content[start:end])
    else bytes(len(content) + 1),
    content[:start] + content[end:],
    other if other != content else content + content,
  )


def files_of(step_folder):
  return sorted(path for path in step_folder.rglob("*") if path.is_file())


def replace(path, content):
  if content is None:
    path.unlink()
  else:
    path.write_bytes(content)


@pytest.mark.slow
def test_a_thousand_damaged_checkpoints(run_copy):
  folder, rng, tried = run_copy / "checkpoints", random.Random(1), 0
  reader = Checkpoints(folder, read_only=True)
  steps = reader.steps()
  whole = {step: reader.read(step)[0] for step in steps}
  for number, step in enumerate(steps[1:], 1):
    others = files_of(folder / str(steps[number - 1]))
    for round_ in range(
      1 + 1000 // (DAMAGES * len(files_of(folder / str(step))) * (len(steps) - 1))
    ):
      for place, path in enumerate(files_of(folder / str(step))):
        content = path.read_bytes()
        for damage in damaged(content, others[place % len(others)].read_bytes(), rng):
          replace(path, damage)
          with pytest.raises(CheckpointError, match=f"/{step}(/|:)") as error:
            reader.read(step)
          assert path.name in str(error.value) or path.name == "SHA256SUMS", (round_, path, damage)
          tried += 1
          path.write_bytes(content)
    arrays, _, _ = reader.read(step)  # as it was again
    assert all(np.array_equal(arrays[name], whole[step][name]) for name in arrays)
  assert tried >= 1000, tried
  print(f"{tried} damaged checkpoints")


@pytest.mark.slow
def test_fifty_through_the_commands(run_copy, trained, tmp_path):
  """`digest` and `train` say which file of which step; `--on_corrupt=previous` gives the whole run's state again."""
  rng, expected = random.Random(2), digest(trained)
  latest = run_copy / "checkpoints" / "40"
  for number in range(50):
    path = rng.choice(files_of(latest))
    content = path.read_bytes()
    replace(path, list(damaged(content, b"other", rng))[number % DAMAGES])
    command = ["digest"] if number % 5 else ["train", *settings_of(run_copy)]
    result = run(*command, f"--workdir={run_copy}")
    assert result.returncode == 4 and len(result.stderr.splitlines()) == 1, (path, result.stderr)
    assert f"{latest}" in result.stderr and (
      path.name in result.stderr or path.name == "SHA256SUMS"
    ), (path, result.stderr)
    if number % 10 == 0:
      copy = shutil.copytree(run_copy, tmp_path / f"again{number}")
      assert (
        run(
          "train", *settings_of(run_copy), f"--workdir={copy}", "--on_corrupt=previous"
        ).returncode
        == 0
      )
      assert digest(copy) == expected
    path.write_bytes(content)
  assert digest(run_copy) == expected


def run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "transformer_jax", *arguments],
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )


def digest(workdir):
  result = run("digest", f"--workdir={workdir}")
  assert result.returncode == 0, result.stderr
  return result.stdout.split()[0]


def settings_of(workdir):
  settings = json.loads((workdir / "config.json").read_text())["settings"]
  return [f"--{name}={value}" for name, value in settings.items()]
