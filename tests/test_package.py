"""The package as it is installed: it brings the experiments along, and works in an empty folder."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Bytes of a wheel: code, pages, flag files and the demo's model; no data and no pictures.
LARGEST = 3_500_000
SECONDS = 1800  # for downloads


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  """A copy of what a package is built from, as builds leave files beside their sources."""
  folder = tmp_path_factory.mktemp("sources")
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, folder)
  for name in ("transformer_jax", "experiments"):
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
  return folder


def command(*arguments, folder, **environment):
  """Runs a command in a folder; returns its standard output."""
  inherited = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
  result = subprocess.run(
    arguments,
    cwd=folder,
    env=inherited | environment,
    capture_output=True,
    text=True,
    timeout=SECONDS,
    check=False,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


def flag_files(folder):
  return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.flags")}


def test_a_built_package_contains_the_experiments(sources, tmp_path):
  pytest.importorskip("setuptools", reason="setuptools is not installed")
  command(
    *(sys.executable, "setup.py", "-q", "build", f"--build-base={tmp_path}/build"), folder=sources
  )
  inside = tmp_path / "build/lib/transformer_jax/experiments"
  assert flag_files(inside) == flag_files(ROOT / "experiments")
  assert (inside / "README.md").is_file()
  assert (inside / "table3/small/results/table.json").is_file()
  assert not [path for path in inside.rglob("*") if path.suffix in (".png", ".pdf", ".py")]
  empty = tmp_path / "empty"
  empty.mkdir()
  run = (sys.executable, "-m", "transformer_jax")
  library = f"{tmp_path}/build/lib"
  listed = command(*run, "experiments", folder=empty, PYTHONPATH=library)
  assert "Result: exact match: 99.60%" in listed
  found = command(
    *(sys.executable, "-c"),
    "from transformer_jax.cli import experiment_files as e; print(e.folder())",
    folder=empty,
    PYTHONPATH=library,
  )
  assert pathlib.Path(found.strip()) == inside
  assert not list(empty.iterdir())


@pytest.mark.slow
def test_an_installed_package_trains_in_an_empty_folder(sources, tmp_path):
  """Needs the package index, to build and to install; minutes, most of them downloads."""
  wheels, empty, environment = (tmp_path / name for name in ("wheels", "empty", "environment"))
  empty.mkdir()
  venv.create(environment, with_pip=True)
  pip = (environment / "bin/python", "-m", "pip", "--disable-pip-version-check", "-q")
  try:
    command(*pip, "wheel", "--no-deps", f"--wheel-dir={wheels}", sources, folder=empty)
    (wheel,) = wheels.iterdir()
    command(*pip, "install", wheel, folder=empty)
  except (AssertionError, subprocess.TimeoutExpired) as error:
    if "No matching distribution" in str(error) or "onnection" in str(error):
      pytest.skip("pip reaches no package index")
    raise
  assert wheel.stat().st_size < LARGEST
  program = environment / "bin/transformer-jax"
  listed = command(program, "experiments", folder=empty)
  assert "experiments/quickstart.flags" in listed.splitlines()
  settings = ("--train_steps=3", "--evaluate_every=3", "--bleu_sentences=2", "--workdir=run")
  command(program, "train", "--flagfile=experiments/quickstart.flags", *settings, folder=empty)
  lines = (empty / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
  assert json.loads(lines[-1])["step"] == 3
