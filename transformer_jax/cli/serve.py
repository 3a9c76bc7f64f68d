"""`transformer-jax serve`."""

import dataclasses
import importlib
import sys
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  from transformer_jax.service.limits import Limits

  command.declare_path("workdir", "folder of the run, or of another model that load takes")
  command.declare("port", 8765, "port to listen on; 0: any that is free")
  command.declare(
    "host", "127.0.0.1", "address to listen on; others than this machine's own let others ask"
  )
  for field in dataclasses.fields(Limits):
    command.declare(field.name, field.default, f"the most {field.metadata['help']}")
  command.declare_checkpoint()


def run(command: Command) -> int:
  """Answers requests until a signal comes."""
  checkpoint = command.checkpoint()
  limits = _limits(command)
  workdir = command.required("workdir")
  _check_packages()
  from transformer_jax.service.guard import LOOPBACK
  from transformer_jax.service.server import bind, serve

  host = command["host"]
  listening = bind(host, command.at_least("port", 0))
  port = listening.getsockname()[1]
  if host not in LOOPBACK:
    print(
      f"transformer-jax: --host={host}: whoever reaches it can ask; there is no password",
      file=sys.stderr,
    )
  from transformer_jax import __version__, load
  from transformer_jax.service.routes import make_app

  model = load(workdir, checkpoint, **command.settings())
  app = make_app(model, limits, [host], __version__)
  name = f"[{host}]" if ":" in host else host
  return serve(app, listening, f"http://{name}:{port}/")


def _limits(command: Command) -> Any:
  """Returns the Limits of the flags.

  Raises:
    ConfigError: one is out of its range.
  """
  from transformer_jax.service.limits import Limits

  values = {}
  for field in dataclasses.fields(Limits):
    values[field.name] = command.at_least(field.name, field.metadata["low"])
    high = field.metadata["high"]
    if high is not None and values[field.name] > high:
      raise ConfigError(f"--{field.name}", f"{values[field.name]} is too large", f"at most {high}")
  return Limits(**values)


def _check_packages() -> None:
  """Raises a ConfigError if a package of the extra is missing."""
  for name in ("starlette", "uvicorn"):
    try:
      importlib.import_module(name)
    except ImportError:
      raise ConfigError(
        "transformer-jax serve", f"needs the package {name}", "pip install 'transformer_jax[serve]'"
      ) from None
