"""The versions of the packages that a run was computed with, and the git revision."""

import importlib.metadata
import pathlib
import platform
import subprocess

import transformer_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str | None]:
  """Returns package -> version, without importing the packages; None: not installed."""
  result: dict[str, str | None] = dict(
    python=platform.python_version(), transformer_jax=transformer_jax.__version__
  )
  for package in _PACKAGES:
    try:
      result[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      result[package] = None
  return result


def git_revision() -> str | None:
  """Returns the commit of this package's checkout, or None if it is not in one.

  It ends in "-dirty" if files differ from the commit.
  """
  try:
    # A package installed inside another repository is not tracked there.
    _git("ls-files", "--error-unmatch", "__init__.py")
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
  except (OSError, subprocess.SubprocessError):
    return None


def _git(*arguments: str) -> str:
  return subprocess.run(
    ["git", *arguments],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
    timeout=20,
    check=True,
  ).stdout
