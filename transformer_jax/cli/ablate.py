"""`transformer-jax ablate`."""

import pathlib
import shlex
import sys

from transformer_jax.analysis.table3 import ROWS
from transformer_jax.cli import train
from transformer_jax.cli.flags import Command
from transformer_jax.config import split_list
from transformer_jax.errors import ConfigError, WorkdirError


def declare(command):
  """The flags."""
  command.declare_path("table", "folder of flag files: base.flags, and one a row")
  command.declare_path("workdir", "folder for the runs' workdirs")
  command.declare_path(
    "results", "folder for a small JSON a run and the table; default: results/ in the workdir"
  )
  command.declare_data_root()
  command.declare("seeds", 3, "seeds of each row: 1, 2, ...")
  command.declare("only_seed", 0, "one seed alone; 0: all")
  command.declare(
    "rows", "", "rows to run, by their files' names without ending, comma-separated; empty: all"
  )
  command.declare("split", "valid", "what is scored; results of each are kept", ["valid", "test"])
  command.declare(
    "print_commands",
    False,
    "run nothing: print one command for each run that is missing, for a cluster's array jobs",
  )
  command.declare("print_table", False, "run nothing: print the table of what is done")


def run(command):
  """Runs what is missing and prints the table; exit code 1 if a row failed."""
  folder, workdir = pathlib.Path(command.required("table")), command["workdir"]
  if not (command["print_table"] and command["results"]):
    command.required("workdir")
  num_seeds = max(command.at_least("seeds", 1), command.at_least("only_seed", 0))
  all_seeds = list(range(1, num_seeds + 1))
  seeds = [command["only_seed"]] if command["only_seed"] else all_seeds
  configs = read_table(folder)
  chosen = split_list(command["rows"]) or list(configs)
  for name in chosen:
    if name not in configs:
      raise ConfigError(
        f"--rows={command['rows']}",
        f"'{name}' is no row of {folder}",
        f"choose from {', '.join(configs)}",
      )
  results = command["results"] or f"{workdir}/results"
  from transformer_jax import parallel
  from transformer_jax.analysis.ablation import report
  from transformer_jax.analysis.ablation.identity import Text
  from transformer_jax.analysis.ablation.outcome import TableRow
  from transformer_jax.analysis.ablation.runs import missing_runs, run_all
  from transformer_jax.analysis.ablation.table import entries

  rows = [TableRow(name, config) for name, config in configs.items()]
  wanted = [row for row in rows if row.name in chosen]
  split, text = command["split"], Text(command["split"], command["data_root"])
  if command["print_commands"]:
    for row, seed in missing_runs(wanted, seeds, results, text):
      print(
        shlex.join(
          [
            "transformer-jax",
            "ablate",
            f"--table={folder}",
            f"--workdir={workdir}",
            f"--results={results}",
            f"--data_root={command['data_root']}",
            f"--split={split}",
            f"--seeds={num_seeds}",
            f"--rows={row.name}",
            f"--only_seed={seed}",
          ]
        )
      )
    return 0
  parallel.start_up()
  failures = {}
  on_split = "" if split == "valid" else f" --split={split}"
  title = f"Ablation {folder}" + (f", scored on {split}" if on_split else "")
  again = f"transformer-jax ablate --table={folder} --workdir=DIR --seeds={num_seeds}{on_split}"

  def make_table():
    return entries(rows, all_seeds, results, failures, text)

  def write_table():
    report.write(make_table(), results, title, again)

  if not command["print_table"]:
    write_table()  # what is wrong with the results' folder is told before hours of training
    failures.update(
      run_all(
        wanted,
        seeds,
        workdir=workdir,
        results=results,
        data_root=command["data_root"],
        text=text,
        log=_say,
        after_each=write_table,
      )
    )
  found = make_table()
  print("\n".join(report.lines(found, title, again)))
  for why in text.missing:
    _say(f"warning: whether results are of this text was not seen for all: {why}")
  try:
    report.write(found, results, title, again)
  except WorkdirError as error:
    _say(f"warning: {error}")
  return 1 if failures else 0


def _say(message):
  print(message, file=sys.stderr, flush=True)


def read_table(folder):
  """name -> Config of each flag file of a folder: base, the paper's rows in the paper's order, then others by name.

  Raises:
    ConfigError: there is no base.flags, or a file is wrong.
  """
  files = {path.stem: path for path in sorted(folder.glob("*.flags"))}
  if "base" not in files:
    raise ConfigError(f"--table={folder}", "has no base.flags", "name a folder of flag files")
  of_the_paper = [row.file for row in ROWS if row.file in files]
  return {name: _config(files[name]) for name in dict.fromkeys([*of_the_paper, *files])}


def _config(path):
  command = Command("train", "", **train.SETTINGS)
  train.declare(command)
  command.parse([f"--flagfile={path}"])
  return command.config()
