"""`transformer-jax results`."""

import functools
import pathlib

from transformer_jax.cli import experiment_files, train
from transformer_jax.cli.flags import Command
from transformer_jax.config import split_list


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path(
    "results", "folder of the JSONs that evaluate --results wrote", "experiments/results"
  )
  command.declare_path(
    "pages",
    "Markdown files, comma-separated, to write the tables of, between the comments <!-- results "
    "long: NAME ... --> (or short; or ablation: TABLE.json) and <!-- end of results -->; a NAME is "
    "an experiment or, with a / at its end, a folder of them",
    "README.md,experiments/README.md",
  )


def run(command: Command) -> None:
  """Writes the tables, and prints which pages changed."""
  folder = pathlib.Path(command.required("results"))
  names = split_list(command.required("pages"))
  from transformer_jax.analysis.results import pages, rows

  found = rows.read(folder, settings_of)
  about = pages.read_about(folder)
  for page in map(pathlib.Path, names):
    is_new = pages.write(page, found, about, folder)
    print(f"{page}: {'written' if is_new else 'unchanged'}")


_FLAG_FILE = "its flag file"


@functools.cache
def settings_of(flag_file: str) -> str:
  """Returns the hash of a flag file's settings, as JSONs of results have it.

  Raises:
    ConfigError: the file is missing or wrong.
  """
  from transformer_jax.analysis.ablation.identity import settings_hash

  path = experiment_files.find(pathlib.Path(flag_file))
  return settings_hash(train.command_of(path, _FLAG_FILE).config())
