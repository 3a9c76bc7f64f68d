"""`transformer-jax experiments`."""

import os
import shlex
import textwrap
from collections.abc import Iterator, Sequence

from transformer_jax.cli import experiment_files, experiment_results
from transformer_jax.cli.flags import Command
from transformer_jax.errors import ConfigError
from transformer_jax.files import atomic_write, output_file

_WIDTH = 100
_INDENT = "    "


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_argument(
    "name",
    "experiment to print, such as quickstart or translation/tatoeba, or folder to list, such as "
    "table3/small; default: list all; --name= may be left out",
  )
  command.declare_path(
    "output", "new file to write the experiment to, so that it can be changed there"
  )


def run(command: Command) -> None:
  """Lists the experiments, or prints or copies one."""
  listed = experiment_files.in_folder(command["name"])
  if not listed:
    _give(experiment_files.full_name(command["name"]), command["output"])
    return
  if command["output"]:
    raise ConfigError(f"--output={command['output']}", "is for one experiment", "name one")
  with output_file() as output:
    for line in _listing(listed):
      output.write(f"{line}\n")


def _give(name: str, path: str) -> None:
  """Prints an experiment, or writes it to a new file."""
  text = experiment_files.standalone_text(name)
  if not path:
    with output_file() as output:
      output.write(text)
    return
  if os.path.lexists(path):
    raise ConfigError(f"--output={path}", "is there already", "name a new file")
  atomic_write(path, text)
  flag = shlex.quote(f"--flagfile={path}")
  print(f"{path}: transformer-jax train {flag} --workdir=DIR")


def _listing(names: Sequence[str]) -> Iterator[str]:
  """Yields the lines that list these experiments."""
  root = experiment_files.folder()
  results = experiment_results.read(root)
  for name in names:
    yield experiment_files.as_flagfile(name)
    yield from _wrapped(experiment_files.summary(root / f"{name}{experiment_files.ENDING}"))
    if name in results:
      yield from _wrapped(f"Result: {results[name]}")
  yield ""
  yield "transformer-jax train --flagfile=FILE --workdir=DIR trains one, in any folder."
  yield "transformer-jax experiments NAME [--output=FILE] prints or copies one."


def _wrapped(text: str) -> list[str]:
  return textwrap.wrap(
    text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
  )
