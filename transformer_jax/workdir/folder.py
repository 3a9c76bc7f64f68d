"""A run's folder: configuration, metrics, log, evaluations.

Files are whole or absent; only the primary process writes.

    config.json     settings, versions, git_revision, starts
    metrics.jsonl   one JSON object a line
    log.txt         messages with their time
    tokenizer/ checkpoints/ evaluations/ tensorboard/

The metrics and the configuration belong to the process that holds the workdir's lock.
"""

import contextlib
import datetime
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from tqdm import tqdm

from transformer_jax.config import Config, fields
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.files import StrPath, append, as_workdir_error, atomic_write, is_litter
from transformer_jax.strict_json import json_text
from transformer_jax.workdir.versions import git_revision, versions


class Start(NamedTuple):
  """From which step on a run is trained, and on what (`machine.hardware`)."""

  step: int
  hardware: dict[str, Any]


class Workdir:
  """The files of one run. Without `primary`, every method that writes does nothing.

  Attributes:
    path: the folder.
    tokenizer: its subfolder of that name; likewise `checkpoints`, `evaluations`, `tensorboard`.
  """

  def __init__(self, path: StrPath, primary: bool = True) -> None:
    """Opens the folder; the primary process makes it and its subfolders if they are missing.

    Raises:
      WorkdirError: it cannot be made.
    """
    if "\0" in str(path):
      raise WorkdirError(
        ascii(str(path)), "contains a null character, which no path can", "name another --workdir"
      )
    self.path = pathlib.Path(path)
    self.tokenizer = self.path / "tokenizer"
    self.checkpoints = self.path / "checkpoints"
    self.evaluations = self.path / "evaluations"
    self.tensorboard = self.path / "tensorboard"
    self._config = self.path / "config.json"
    self._metrics = self.path / "metrics.jsonl"
    self._log = self.path / "log.txt"
    self._primary = primary
    if primary:
      with as_workdir_error(self.path):
        for folder in (self.tokenizer, self.checkpoints, self.evaluations, self.tensorboard):
          folder.mkdir(parents=True, exist_ok=True)

  def has_config(self) -> bool:
    """Returns whether a run was started here."""
    return os.path.exists(self._config)  # also False if no file can have such a name

  def write_config(
    self,
    settings: Mapping[str, Any],
    initialized_from: Mapping[str, Any] | None = None,
    imported_from: str = "",
    start: Start | None = None,
  ) -> None:
    """Writes config.json: the flat settings, the packages' versions, and the git revision.

    A resumed run logs each version that differs from its last start, since results may then differ
    in the last bits. The file lists the starts whose hardware, versions or revision are others
    than those of the start before.

    Args:
      settings: the flat settings.
      initialized_from: whose parameters the run begins with, if they are another run's.
      imported_from: the folder or the name of the model, if it was not trained here.
      start: the start of a training.

    Raises:
      WorkdirError: it cannot be written.
    """
    if not self._primary:
      return
    current = versions()
    before = self.read_versions() if self.has_config() else {}
    for name, version in current.items():
      if name in before and before[name] != version:
        self.log(
          f"warning: {name} was {before[name]} and is {version}: "
          "results may differ in the last bits"
        )
    content: dict[str, Any] = dict(settings=settings, versions=current, git_revision=git_revision())
    if start:
      now = dict(start._asdict(), versions=current, git_revision=content["git_revision"])
      content["starts"] = self._starts_with(now)
    if initialized_from:
      content["initialized_from"] = dict(initialized_from)
    if imported_from:
      content["imported_from"] = imported_from
    atomic_write(self._config, json_text(content, indent=1) + "\n")

  def _starts_with(self, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the starts of the run with this one, if it differs from the one before."""
    before = [start for start in self.read_starts() if start["step"] < now["step"]]
    if before and {**before[-1], "step": now["step"]} == now:
      return before
    return [*before, now]

  def read_starts(self) -> list[dict[str, Any]]:
    """Returns the starts of the run that differ: step, hardware, versions, git_revision of each.

    Older versions recorded only the last one, without its hardware. It is returned as step 0.

    Raises:
      ConfigError: config.json is damaged.
    """
    if not self.has_config():
      return []
    content = self._read_json()
    found = content.get("starts")
    if found is None:
      old = dict(versions=content.get("versions"), git_revision=content.get("git_revision"))
      return [dict(step=0, hardware=None, **old)]
    if not isinstance(found, list) or not all(map(_is_start, found)):
      raise ConfigError(self._config, "has damaged starts", "restore the file")
    return found

  def read_config(self) -> dict[str, Any]:
    """Returns the flat settings of the run, checked.

    Raises:
      WorkdirError: there is no run here.
      ConfigError: config.json is damaged, or has other settings than this version; names one.
    """
    return whole_settings(self._read_json().get("settings"), self._config)

  def read_versions(self) -> dict[str, Any]:
    """Returns package -> version of the run's last start.

    Raises:
      WorkdirError: there is no run here.
      ConfigError: config.json is damaged.
    """
    found = self._read_json().get("versions")
    return found if isinstance(found, dict) else {}

  def read_initialized_from(self) -> dict[str, Any] | None:
    """Returns the record of the parameters that the run began with; None if they were random.

    Raises:
      WorkdirError: there is no run here.
      ConfigError: config.json is damaged.
    """
    found = self._read_json().get("initialized_from")
    if found is None:
      return None
    if not isinstance(found, dict) or {*map(type, found.values())} - {int, str}:
      raise ConfigError(self._config, "has a damaged initialized_from", "restore the file")
    return found

  def is_imported(self) -> bool:
    """Returns whether the model was imported: it has parameters alone, and cannot be trained here.

    Raises:
      WorkdirError: there is no run here.
      ConfigError: config.json is damaged.
    """
    return bool(self._read_json().get("imported_from"))

  def _read_json(self) -> dict[str, Any]:
    try:
      content = json.loads(self._config.read_bytes())
    except FileNotFoundError:
      raise self._no_config() from None
    except OSError as error:
      raise WorkdirError(self._config, f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
      raise ConfigError(self._config, f"is not JSON: {error}", "restore the file") from None
    if not isinstance(content, dict):
      raise ConfigError(self._config, "is not a JSON object", "restore the file")
    return content

  def _no_config(self) -> WorkdirError:
    if any(self.checkpoints.glob("*/meta.json")):
      return WorkdirError(
        self._config,
        "is missing, but there are checkpoints here",
        "restore it, or run `train` with the run's settings, which writes it again",
      )
    return WorkdirError(
      self.path, "there is no run here (no config.json)", "train first, or name another --workdir"
    )

  def write_metrics(self, metrics: Mapping[str, Any]) -> None:
    """Appends a line with `step`, `split` and figures; a float is read back exactly.

    The line is fsynced before this returns, so a checkpoint is never ahead of the metrics.

    Raises:
      WorkdirError: it cannot be written.
    """
    if self._primary:
      append(self._metrics, json_text(metrics) + "\n")

  def read_metrics(self) -> list[dict[str, Any]]:
    """Returns the lines of metrics; none if nothing was written yet.

    Raises:
      WorkdirError: a line is not a line of metrics; names it.
    """
    try:
      lines = self._metrics.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
      return []
    except OSError as error:
      raise WorkdirError(self._metrics, f"cannot be read: {error.strerror or error}") from None
    return [self._parsed(line, number) for number, line in enumerate(lines, 1)]

  def reported_step(self) -> int | None:
    """Returns the last step that a line about training has; 0 without one, None without any line.

    Raises:
      WorkdirError: as `read_metrics`.
    """
    lines = self.read_metrics()
    if not lines:
      return None
    return max((line["step"] for line in lines if line.get("split") == "train"), default=0)

  def cut_metrics(self, step: int) -> None:
    """Removes the lines after `step`, an unfinished line, and temporary files of killed processes.

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
    numbered = enumerate(lines, 1)
    kept = b"".join(
      line + b"\n" for number, line in numbered if self._parsed(line, number)["step"] <= step
    )
    if kept != content:
      atomic_write(self._metrics, kept)

  def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
    try:
      metrics = json.loads(line)
      if type(metrics["step"]) is not int:
        raise TypeError
      return metrics
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
      raise WorkdirError(
        f"{self._metrics}:{number}", "is not a line of metrics", "restore or remove it"
      ) from None

  def log(self, message: str) -> None:
    """Writes `message` to standard error, and to log.txt with the time.

    Raises:
      WorkdirError: log.txt cannot be written.
    """
    if not self._primary:
      return
    with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to stop
      tqdm.write(message, file=sys.stderr)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    append(self._log, f"{now} {message}\n")


def _is_start(value: Any) -> bool:
  names = {"step", "hardware", "versions", "git_revision"}
  return isinstance(value, dict) and value.keys() >= names and type(value["step"]) is int


def source_settings(init_from: StrPath) -> dict[str, Any]:
  """Returns the flat settings of the run that `init_from` names.

  Raises:
    WorkdirError: there is no run.
    ConfigError: its config.json is damaged.
  """
  folder = Workdir(init_from, primary=False)
  if not folder.has_config():
    raise WorkdirError(
      f"--init_from={init_from}", "there is no run (no config.json)", "name the workdir of a run"
    )
  return folder.read_config()


def whole_settings(settings: Any, where: StrPath) -> dict[str, Any]:
  """Returns the flat settings that were read at `where`, checked, with defaults for later ones.

  Raises:
    ConfigError: they are damaged, or have other names than this version; names one.
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
        where, f"has an unknown setting: {name}", "use the package's version named there"
      )
  try:
    Config.from_flat(settings)
  except ConfigError as error:  # `error.where` is a flag, but no flag was given
    raise ConfigError(where, str(error), "restore the file") from None
  return settings


def _remove_litter(folder: pathlib.Path) -> None:
  """Removes the temporary files of processes that have ended."""
  for path in folder.iterdir():
    if is_litter(path.name) and path.is_file():
      path.unlink()
