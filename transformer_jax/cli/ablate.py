"""`transformer-jax ablate`."""

import pathlib
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from transformer_jax.analysis.table3 import ROWS
from transformer_jax.cli import experiment_files, train
from transformer_jax.cli.flags import Command
from transformer_jax.config import Config, split_list
from transformer_jax.errors import ConfigError, WorkdirError

_MOST_SEEDS = 1000


def declare(command: Command) -> None:
  """Declares the flags."""
  command.declare_path("table", "folder of flag files: base.flags, and one for each other row")
  command.declare_path("workdir", "folder for the runs' workdirs")
  command.declare_path(
    "results",
    "folder for the table and a small JSON for each run; default: results/ in the workdir",
  )
  command.declare_data_root()
  command.declare("seeds", 3, "number of seeds for each row: 1, 2, ...")
  command.declare("only_seed", 0, "seed to run, and no other; 0: all")
  command.declare(
    "rows",
    "",
    "rows to run: names of their files without the ending, comma-separated; default: all",
  )
  command.declare(
    "split", "valid", "split to score; the results of both are kept", ["valid", "test"]
  )
  command.declare(
    "print_commands",
    False,
    "run nothing: print a command for each missing run, for a cluster's array jobs",
  )
  command.declare("print_table", False, "run nothing: print the table of the finished runs")


def run(command: Command) -> int:
  """Trains and scores the missing runs and prints the table; returns 1 if a run failed."""
  folder = pathlib.Path(command.required("table"))
  if not (command["print_table"] and command["results"]):
    command.required("workdir")
  results = command["results"] or f"{command['workdir']}/results"
  num_seeds = command.at_least("seeds", 1)
  if num_seeds > _MOST_SEEDS:
    raise ConfigError(f"--seeds={num_seeds}", "is too many", f"at most {_MOST_SEEDS}")
  only_seed = command.at_least("only_seed", 0)
  all_seeds = sorted({*range(1, num_seeds + 1), *filter(None, [only_seed])})
  seeds = [only_seed] if only_seed else all_seeds
  # A folder of this name that has no table, such as that of its results, is not meant.
  configs = read_table(experiment_files.find(folder / "base.flags").parent)
  chosen = _chosen_rows(command["rows"], configs, folder)
  from transformer_jax import parallel
  from transformer_jax.analysis.ablation import report
  from transformer_jax.analysis.ablation.identity import Text
  from transformer_jax.analysis.ablation.outcome import TableRow
  from transformer_jax.analysis.ablation.runs import missing_runs, run_all
  from transformer_jax.analysis.ablation.table import entries

  all_rows = [TableRow(name, config) for name, config in configs.items()]
  rows = [row for row in all_rows if row.name in chosen]
  text = Text(command["split"], command["data_root"])
  if command["print_commands"]:
    for row, seed in missing_runs(rows, seeds, results, text):
      print(_command_of_run(command, folder, results, num_seeds, row.name, seed))
    return 0
  parallel.start_up()
  heading = _heading(folder, num_seeds, command["split"])
  failures: dict[tuple[str, int], str] = {}

  def write_table():
    report.write(entries(all_rows, all_seeds, results, failures, text), results, *heading)

  if not command["print_table"]:
    write_table()  # so that an error in the results' folder comes before hours of training
    failures |= run_all(
      rows,
      seeds,
      workdir=command["workdir"],
      results=results,
      data_root=command["data_root"],
      text=text,
      log=_say,
      after_each=write_table,
    )
  _show(entries(all_rows, all_seeds, results, failures, text), results, heading, text.missing)
  return 1 if failures else 0


def _chosen_rows(text: str, configs: Mapping[str, Config], folder: pathlib.Path) -> list[str]:
  """Returns the names of the rows to run; all of them if `text`, the value of --rows, is empty."""
  chosen = split_list(text) or list(configs)
  for name in chosen:
    if name not in configs:
      rows = ", ".join(map(_in_a_list, configs))
      raise ConfigError(
        f"--rows={text}", f"'{name}' is not a row of {folder}", f"choose from {rows}"
      )
  return chosen


def _in_a_list(row: str) -> str:
  """Returns a row's name as an item of --rows."""
  return row.replace(",", "\\,")


def _command_of_run(
  command: Command, folder: pathlib.Path, results: str, num_seeds: int, row: str, seed: int
) -> str:
  """Returns the shell command that does one run of the table."""
  flags = dict(
    table=folder,
    workdir=command["workdir"],
    results=results,
    data_root=command["data_root"],
    split=command["split"],
    seeds=num_seeds,
    rows=_in_a_list(row),
    only_seed=seed,
  )
  arguments = [f"--{name}={value}" for name, value in flags.items()]
  return shlex.join(["transformer-jax", "ablate", *arguments])


def _show(
  found: list[dict[str, Any]], results: str, heading: tuple[str, str], missing: Iterable[str]
) -> None:
  """Prints the page of the table, and writes it if that is possible."""
  from transformer_jax.analysis.ablation import report

  print("\n".join(report.lines(found, *heading)))
  for reason in missing:
    _say(f"warning: some results could not be checked against this text: {reason}")
  try:
    report.write(found, results, *heading)
  except WorkdirError as error:
    _say(f"warning: {error}")


def _heading(folder: pathlib.Path, num_seeds: int, split: str) -> tuple[str, str]:
  """Returns the title of the table, and the command that makes it again."""
  title = f"Ablation {folder}"
  again = f"transformer-jax ablate --table={folder} --workdir=DIR --seeds={num_seeds}"
  if split != "valid":
    title += f", scored on {split}"
    again += f" --split={split}"
  return title, again


def _say(message: str) -> None:
  print(message, file=sys.stderr, flush=True)


def read_table(folder: pathlib.Path) -> dict[str, Config]:
  """Returns name -> Config of each flag file in a folder.

  Base and the paper's other rows come first, in the paper's order, then others by name.

  Raises:
    ConfigError: there is no base.flags, or a file is wrong.
  """
  files = {path.stem: path for path in sorted(folder.glob("[!.]*.flags"))}
  if "base" not in files:
    raise ConfigError(f"--table={folder}", "has no base.flags", "name a folder of flag files")
  of_the_paper = [row.file for row in ROWS if row.file in files]
  return {name: _read_config(files[name]) for name in dict.fromkeys([*of_the_paper, *files])}


def _read_config(path: pathlib.Path) -> Config:
  command = train.command_of(path, "--table")
  if command["init_from"]:
    raise ConfigError(
      f"{path} --init_from",
      "is not for a table: its results do not record the parameters that a run began with",
      "train such a run by itself",
    )
  return command.config()
