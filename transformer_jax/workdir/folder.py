"""A run's folder: configuration, metrics, log, evaluations. Files are whole or absent; only the primary process writes.

    config.json    settings, versions, git_revision        metrics.jsonl   one JSON object a line
    log.txt        what was said, with the time            tokenizer/ checkpoints/ evaluations/ tensorboard/

The metrics and the configuration belong to whoever holds the workdir's lock.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import sys

from tqdm import tqdm

from transformer_jax.config import Config, fields
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.files import append, as_workdir_error, atomic_write
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.versions import git_revision, versions

# What a killed process, whose number it is, left of a file that it was replacing.
_LITTER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.tmp")


class Workdir:
  """The files of one run. Without `primary`, everything that writes does nothing."""

  def __init__(self, path, primary=True):
    self.path, self._primary = pathlib.Path(path), primary
    if "\0" in str(path):
      raise WorkdirError(
        ascii(str(path)), "holds a null character, which no path can", "name another --workdir"
      )
    self.tokenizer, self.checkpoints, self.evaluations, self.tensorboard = (
      self.path / name for name in ("tokenizer", "checkpoints", "evaluations", "tensorboard")
    )
    self._config, self._metrics, self._log = (
      self.path / name for name in ("config.json", "metrics.jsonl", "log.txt")
    )
    if primary:
      with as_workdir_error(self.path):
        for folder in (self.tokenizer, self.checkpoints, self.evaluations, self.tensorboard):
          folder.mkdir(parents=True, exist_ok=True)

  def has_config(self):
    """Whether a run was started here."""
    return os.path.exists(self._config)  # False too where no file can have such a name

  def write_config(self, settings):
    """Writes config.json: the flat settings, the versions of what computes, the git revision.

    A resumed run logs each version that is not the one of its last start, since the bits may then differ.
    """
    if not self._primary:
      return
    content = dict(settings=settings, versions=versions(), git_revision=git_revision())
    before = self._read_json().get("versions") if self.has_config() else None
    for name, version in content["versions"].items():
      if isinstance(before, dict) and before.get(name, version) != version:
        self.log(
          f"warning: {name} was {before[name]} and is {version}: results may differ in the last bits"
        )
    atomic_write(self._config, json_text(content, indent=1) + "\n")

  def read_config(self):
    """The flat settings of the run, checked.

    Raises:
      WorkdirError: there is no run here.
      ConfigError: config.json is damaged, or does not have the settings of this version (younger ones apart); names one.
    """
    return whole_settings(self._read_json().get("settings"), self._config)

  def _read_json(self):
    try:
      content = json.loads(self._config.read_bytes())
    except FileNotFoundError:
      if any(self.checkpoints.glob("*/meta.json")):
        raise WorkdirError(
          self._config,
          "is gone, and checkpoints are here",
          "restore it; `train` with the run's settings does so, too",
        ) from None
      raise WorkdirError(
        self.path, "there is no run here (no config.json)", "train first, or name another --workdir"
      ) from None
    except OSError as error:
      raise WorkdirError(self._config, f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
      raise ConfigError(self._config, f"is not JSON: {error}", "restore the file") from None
    if not isinstance(content, dict):
      raise ConfigError(self._config, "is not a JSON object", "restore the file")
    return content

  def read_versions(self):
    """The versions that the run's last start was made with: package -> version."""
    found = self._read_json().get("versions")
    return found if isinstance(found, dict) else {}

  def write_metrics(self, metrics):
    """Appends a line with `step`, `split` and figures; Python's JSON writes a float so that it reads back exactly.

    It is on disk before this returns, so a checkpoint is never ahead of the metrics.
    """
    if self._primary:
      append(self._metrics, json_text(metrics) + "\n")

  def read_metrics(self):
    """The lines of metrics, as dicts; none where nothing was logged.

    Raises:
      WorkdirError: a line is not a line of metrics; names it.
    """
    try:
      lines = self._metrics.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
      return []
    except OSError as error:
      raise WorkdirError(self._metrics, f"cannot be read: {error.strerror or error}") from None
    return [
      json.loads(line) for number, line in enumerate(lines, 1) if self._step_of(line, number) >= 0
    ]

  def reported_step(self):
    """The step of the last line about training, 0 where there is none; None without any metrics."""
    lines = self.read_metrics()
    steps = [line["step"] for line in lines if line.get("split") == "train"]
    return max(steps, default=0) if lines else None

  def cut_metrics(self, step):
    """Drops the lines after `step`, and what a killed process left unfinished, here or elsewhere.

    Raises:
      WorkdirError: another line is not a line of metrics; names it.
    """
    if not self._primary:
      return
    with as_workdir_error(self._metrics):
      for folder in (self.path, self.tokenizer, self.evaluations):
        _remove_litter(folder)
      content = self._metrics.read_bytes() if self._metrics.exists() else b""
    *lines, _ = content.split(b"\n")
    kept = b"".join(
      line + b"\n" for number, line in enumerate(lines, 1) if self._step_of(line, number) <= step
    )
    if kept != content:
      atomic_write(self._metrics, kept)

  def _step_of(self, line, number):
    try:
      step = json.loads(line)["step"]
      if type(step) is not int:
        raise TypeError
      return step
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
      raise WorkdirError(
        f"{self._metrics}:{number}", "is not a line of metrics", "restore or remove it"
      ) from None

  def log(self, message):
    """Says `message` on stderr, and writes it to log.txt with the time."""
    if not self._primary:
      return
    with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to stop
      tqdm.write(message, file=sys.stderr)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    append(self._log, f"{now} {message}\n")


def _remove_litter(folder):
  """Removes the temporary files of processes that are no more."""
  for path in folder.iterdir():
    match = _LITTER.fullmatch(path.name)
    if match and path.is_file() and not _is_alive(int(match[1])):
      path.unlink()


def _is_alive(process):
  """Whether another process of this machine has this number, or of another machine by chance."""
  try:
    os.kill(process, 0)
  except (ProcessLookupError, OverflowError):
    return False
  except PermissionError:  # somebody else's
    return True
  return process != os.getpid()


def whole_settings(settings, where):
  """Flat settings that were read at `where`, checked, with the younger ones that they lack.

  Raises:
    ConfigError: they are damaged, or not those of this version (younger ones apart); names one.
  """
  if not isinstance(settings, dict):
    raise ConfigError(where, "has no settings", "restore the file")
  for name, field in fields().items():
    if name not in settings and field.metadata["added_later"]:
      settings[name] = field.default
    elif name not in settings:
      raise ConfigError(
        where, f"does not set {name}", "add it, or use the package's version named there"
      )
  for name in settings:
    if name not in fields():
      raise ConfigError(
        where, f"sets {name}, which is no setting", "use the package's version named there"
      )
  try:
    Config.from_flat(settings)
  except ConfigError as error:  # it names a flag, and no flag was given
    raise ConfigError(where, str(error), "restore the file") from None
  return settings
