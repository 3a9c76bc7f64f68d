"""What a run was computed with: versions of packages, and the git revision."""

import importlib.metadata
import pathlib
import platform
import subprocess

import transformer_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions():
  """name -> version (None where not installed) of what computes, without importing it."""
  result = dict(python=platform.python_version(), transformer_jax=transformer_jax.__version__)
  for package in _PACKAGES:
    try:
      result[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      result[package] = None
  return result


def git_revision():
  """The commit this package is checked out at, with "-dirty" if files differ; None if it is not in a checkout."""
  folder = pathlib.Path(transformer_jax.__file__).parent
  run = dict(cwd=folder, capture_output=True, text=True, timeout=20, check=True)
  try:
    # A package installed inside some other repository is not tracked there.
    subprocess.run(["git", "ls-files", "--error-unmatch", "__init__.py"], **run)
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(describe, **run).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return None
