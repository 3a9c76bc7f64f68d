"""`transformer-jax serve`."""

import dataclasses
import importlib
import socket
import sys
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError
from transformer_jax.service.limits import Limits

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
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
  host, port = command["host"], _between(command, "port", 0, 65_535)
  workdir = command.required("workdir")
  _check_packages()
  from transformer_jax.service.guard import EVERYWHERE, LOOPBACK
  from transformer_jax.service.server import bind, serve

  listening = bind(host, port)
  if host not in LOOPBACK:
    print(
      f"transformer-jax: --host={host}: whoever reaches it can ask; there is no password",
      file=sys.stderr,
    )
  from transformer_jax import __version__, load
  from transformer_jax.runs.alignment import heads_of_run
  from transformer_jax.service.routes import make_app

  model = load(workdir, checkpoint, **command.settings())
  _check_beam_size(model.config.decode.beam_size, limits)
  names = [socket.gethostname(), socket.getfqdn()] if host in EVERYWHERE else []
  app = make_app(model, limits, [host, *names], __version__, heads_of_run(model, workdir))
  name = f"[{host}]" if ":" in host else host
  return serve(app, listening, f"http://{name}:{listening.getsockname()[1]}/")


def _limits(command: Command) -> Limits:
  """Returns the Limits of the flags.

  Raises:
    ConfigError: one is out of its range.
  """
  values = {}
  for field in dataclasses.fields(Limits):
    low, high = field.metadata["low"], field.metadata["high"]
    values[field.name] = _between(command, field.name, low, high)
  return Limits(**values)


def _check_beam_size(beam_size: int, limits: Limits) -> None:
  """Checks that requests that say nothing of it may have the model's beam size.

  Raises:
    ConfigError: it is beyond the limit.
  """
  if beam_size > limits.max_beam_size:
    raise ConfigError(
      f"--max_beam_size={limits.max_beam_size}",
      f"the model searches with beam_size={beam_size}",
      "raise it, or give a smaller --beam_size",
    )


def _between(command: Command, name: str, low: int, high: int) -> int:
  """Returns the value of a flag that has a range.

  Raises:
    ConfigError: it is out of it.
  """
  value = command.at_least(name, low)
  if value > high:
    raise ConfigError(f"--{name}", f"{value} is too large", f"at most {high}")
  return value


def _check_packages() -> None:
  """Raises a ConfigError if a package of the extra is missing."""
  for name in ("starlette", "uvicorn"):
    try:
      importlib.import_module(name)
    except ImportError:
      raise ConfigError(
        "transformer-jax serve", f"needs the package {name}", "pip install 'transformer_jax[serve]'"
      ) from None
