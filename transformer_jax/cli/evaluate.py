"""`transformer-jax evaluate`."""

import os
import pathlib
import sys
from typing import Any

from transformer_jax.cli import experiment_files, train
from transformer_jax.cli.flags import Command
from transformer_jax.config import Config
from transformer_jax.data.sacrebleu_sets import EXCLUDED, NamedSet, refuse_contradictions
from transformer_jax.errors import ConfigError
from transformer_jax.strict_json import json_text

SETTINGS: dict[str, Any] = dict(groups=("decode",), overrides=True)

# Flags that a JSON of scores does not repeat: folders, which others have elsewhere, and the JSON's.
_NOT_RECORDED = ("workdir", "data_root", "results", "experiment")


def declare(command: Command) -> None:
  """Declares the flags other than the decoding settings."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare("split", "test", "split of the run's data to score", ["valid", "test"])
  command.declare_path("source", "text file to translate, instead of a split")
  command.declare_path("reference", "its reference translations")
  command.declare(
    "tokenized_input",
    False,
    "source and reference have been through the run's preprocessing already",
  )
  command.declare(
    "test_set", "", "test set of sacreBLEU to score instead of a split, such as wmt14/full"
  )
  command.declare("pair", "", "its language pair, such as en-de; default: the run's languages")
  command.declare_checkpoint()
  command.declare_ensemble()
  command.declare_path(
    "results",
    "also write a JSON of the run and its scores to this folder, such as experiments/results; "
    "needs --experiment",
  )
  command.declare_path("experiment", "the flag file that the run was trained from, for --results")


def run(command: Command) -> None:
  """Prints the scores; the last line is one JSON object."""
  checkpoint = command.checkpoint()
  name = command["test_set"]
  given = [flag for flag in EXCLUDED if command.is_given(flag) and command[flag]]
  refuse_contradictions(name, command["pair"], given)
  workdir = command.workdir_of_a_run()
  ensemble = command.ensemble()
  flag_file = _flag_file(command)
  from transformer_jax.analysis.results import record
  from transformer_jax.runs.evaluate import evaluate

  experiment = record.FlagFile(*flag_file) if flag_file else None
  if experiment:
    record.check_same_settings(workdir, experiment)
    record.make_place(experiment, command["results"])
  result = evaluate(
    workdir,
    split=NamedSet(name, command["pair"]) if name else command["split"],
    overrides=command.settings(),
    source=command["source"],
    reference=command["reference"],
    data_root=command["data_root"],
    checkpoint=checkpoint,
    ensemble=ensemble,
    tokenized_input=command["tokenized_input"],
  )
  if "pair" in result:
    size = f"{result['sentences']:,} sentences"
    print(f"{result['set']} {result['pair']}: {size}, {result['signature']}")
  print(f"{result['set']}: {result['headline']}, perplexity {result['perplexity']:.3f}")
  if "by_length" in result:
    print(f"labeled F1 by words: {_by_length(result['by_length'])}")
  print(json_text(result))
  if experiment:
    given = {name: value for name, value in command.given().items() if name not in _NOT_RECORDED}
    path = record.write(workdir, experiment, result, given, command["results"])
    print(f"transformer-jax: the run and its scores are in {path}", file=sys.stderr)


def _by_length(table: dict[str, dict[str, Any]]) -> str:
  """Returns the F1 of sentences of each range of lengths, and how many there are, on one line."""
  return ", ".join(f"{name}: {row['f1']:.2f} ({row['sentences']:,})" for name, row in table.items())


def _flag_file(command: Command) -> tuple[pathlib.Path, str, Config] | None:
  """Returns the fields of --experiment as a `record.FlagFile`; None if no JSON is asked for.

  Raises:
    ConfigError: --experiment is missing or wrong, or the text to score is nobody else's.
  """
  if not (command["results"] or command["experiment"]):
    return None
  for one, other in (("results", "experiment"), ("experiment", "results")):
    if not command[one]:
      raise ConfigError(f"--{one}", f"is missing, which --{other} needs", "give both, or neither")
  if command["ensemble"]:
    raise ConfigError("--results", "is for one run", "leave --ensemble out")
  if command["source"]:
    raise ConfigError(
      "--results", "is for sets that others have, too", "leave --source and --reference out"
    )
  given = pathlib.Path(command["experiment"])
  path = experiment_files.find(given)
  name = os.path.relpath(given) if given.is_absolute() else os.path.normpath(given)
  return path, pathlib.Path(name).as_posix(), train.command_of(path, "--experiment").config()
