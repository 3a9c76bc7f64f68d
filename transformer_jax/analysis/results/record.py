"""The JSON of a scored run, made of what the run and its evaluation recorded."""

import contextlib
import dataclasses
import glob
import json
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from transformer_jax.analysis.ablation.identity import NOT_OF_THE_RESULT, settings_hash
from transformer_jax.analysis.cost.formulas import parameter_counts
from transformer_jax.checkpoints import Checkpoints
from transformer_jax.config import PATHS, Config
from transformer_jax.data.text import hash_file
from transformer_jax.data.tokenizers.folder import load_tokenizer
from transformer_jax.errors import ConfigError
from transformer_jax.files import StrPath, as_workdir_error, atomic_write
from transformer_jax.machine import hardware
from transformer_jax.runs.build import build_task
from transformer_jax.runs.digest import state_digest
from transformer_jax.runs.evaluation_files import evaluation_stem, set_name
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.folder import Workdir
from transformer_jax.workdir.versions import git_revision, versions

# What an evaluation says in other words, or at length.
_LEFT_OUT = ("headline", "labels")


class FlagFile(NamedTuple):
  """The flag file of an experiment."""

  path: pathlib.Path
  name: str  # such as "experiments/quickstart.flags"
  config: Config


def check_same_settings(workdir: StrPath, flag_file: FlagFile) -> None:
  """Checks that a run was trained from a flag file, whatever its seed.

  Raises:
    ConfigError: a setting that its result depends on is another; names all. Or the run was not
      trained: its model was imported.
  """
  if Workdir(workdir, primary=False).is_imported():
    raise ConfigError(
      f"--experiment={flag_file.path}",
      f"{workdir} holds an imported model, which no flag file gives",
      "score the run that was trained",
    )
  config = _config_of(workdir)
  if settings_hash(config) == settings_hash(flag_file.config):
    return
  differences = _differences(config, flag_file.config).items()
  others = [f"--{name}={value}" for name, value in differences if name not in NOT_OF_THE_RESULT]
  raise ConfigError(
    f"--experiment={flag_file.path}",
    f"the run in {workdir} has other settings: {', '.join(others)}",
    "name the flag file that it was trained from",
  )


def make_place(flag_file: FlagFile, results: StrPath) -> None:
  """Makes the folder `results`, and checks that no other flag file's JSON would be overwritten.

  Raises:
    ConfigError: JSONs of another flag file are named alike, such as a copy's.
    WorkdirError: the folder cannot be made.
  """
  with as_workdir_error(results):
    pathlib.Path(results).mkdir(parents=True, exist_ok=True)
  names = f"{glob.escape(_stem_of(flag_file.name))}-seed*.json"
  for path in sorted(pathlib.Path(results).glob(names)):
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
      other = json.loads(path.read_bytes())["flag_file"]
      if other != flag_file.name:
        raise ConfigError(
          f"--results={results}", f"{path.name} is of {other}", "give another folder, or remove it"
        )


def write(
  workdir: StrPath,
  flag_file: FlagFile,
  evaluation: Mapping[str, Any],
  given: Mapping[str, Any],
  results: StrPath,
) -> pathlib.Path:
  """Writes the JSON of a scored run to the folder `results`, and returns its path.

  Args:
    workdir: the run.
    flag_file: its flag file.
    evaluation: what `evaluate` returned.
    given: the flags that `evaluate` was given, other than those that name files and folders.
    results: the folder, from `make_place`.

  Raises:
    WorkdirError: the file cannot be written.
  """
  content = _content(workdir, flag_file, evaluation, given)
  own = _config_of(workdir).decode
  names = {field.name for field in dataclasses.fields(own)}
  decode = dataclasses.replace(own, **{name: evaluation[name] for name in names & {*evaluation}})
  stem = evaluation_stem(workdir, set_name(evaluation), evaluation["steps"], decode)
  name = f"{_stem_of(flag_file.name)}-seed{content['seed']}-{pathlib.Path(stem).name}.json"
  path = pathlib.Path(results) / name
  atomic_write(path, json_text(content, indent=1) + "\n")
  return path


def experiment_of(content: Mapping[str, Any]) -> str:
  """Returns the name of an experiment, such as "translation/tatoeba", from the JSON of a run."""
  return _experiment(content["flag_file"])


def _experiment(flag_file: str) -> str:
  return flag_file.removeprefix("experiments/").removesuffix(".flags")


def _stem_of(flag_file: str) -> str:
  """Returns how the names of a flag file's JSONs begin."""
  return _experiment(flag_file).replace("/", "-")


def _content(
  workdir: StrPath,
  flag_file: FlagFile,
  evaluation: Mapping[str, Any],
  given: Mapping[str, Any],
) -> dict[str, Any]:
  config = _config_of(workdir)
  folder = Workdir(workdir, primary=False)
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    arrays, meta, step = checkpoints.read(evaluation["steps"][-1])
  task = build_task(config.data, load_tokenizer(folder.tokenizer))
  parameters = parameter_counts(config.model, task.source_vocab_size, task.target_vocab_size)
  different = _differences(config, flag_file.config)
  changed = {name: value for name, value in different.items() if name not in PATHS}
  train = [f"--flagfile={flag_file.name}", "--workdir=DIR", *_as_flags(changed)]
  content = dict(
    flag_file=flag_file.name,
    flag_file_sha256=hash_file(flag_file.path).hex(),
    settings_sha256=settings_hash(config),
    seed=config.train.seed,
    commands=[
      shlex.join(["transformer-jax", "train", *train]),
      shlex.join(["transformer-jax", "evaluate", "--workdir=DIR", *_as_flags(given)]),
    ],
    data_sha256=meta["data_fingerprint"],
    parameters=sum(parameters.values()),
    training=_training(folder),
    checkpoint_sha256=state_digest(arrays, step, meta["data"]),
    evaluation=dict(
      {name: value for name, value in evaluation.items() if name not in _LEFT_OUT},
      hardware=hardware(),
      versions=versions(),
      git_revision=git_revision(),
    ),
  )
  if record := folder.read_initialized_from():
    content["initialized_from"] = {name: record[name] for name in ("step", "params_sha256")}
  return content


def _training(folder: Workdir) -> dict[str, Any]:
  """Returns updates, tokens, time (None: a start did not record it) and starts of a run."""
  lines = folder.read_metrics()
  reports = [line for line in lines if line["split"] == "train"]
  return dict(
    updates=reports[-1]["step"] if reports else 0,
    source_tokens=sum(line["source_tokens"] for line in reports),
    target_tokens=sum(line["target_tokens"] for line in reports),
    wall_seconds=lines[-1].get("wall_seconds") if lines else None,
    processor_seconds=lines[-1].get("processor_seconds") if lines else None,
    starts=folder.read_starts(),
  )


def _config_of(workdir: StrPath) -> Config:
  return Config.from_flat(Workdir(workdir, primary=False).read_config())


def _differences(config: Config, base: Config) -> dict[str, Any]:
  """Returns the settings that differ from those of `base`."""
  theirs = base.to_flat()
  return {name: value for name, value in config.to_flat().items() if value != theirs[name]}


def _as_flags(values: Mapping[str, Any]) -> list[str]:
  flags = {
    name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()
  }
  return [f"--{name}={value}" for name, value in sorted(flags.items())]
