"""A run's folder: configuration, metrics, log, evaluations. Files are whole or absent; only the primary process writes.

    config.json    settings, versions, git_revision        metrics.jsonl   one JSON object a line
    log.txt        what was said, with the time            tokenizer/ checkpoints/ evaluations/ tensorboard/

The metrics and the configuration belong to whoever holds the workdir's lock.
"""

import contextlib
import datetime
import errno
import gzip
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import re
import secrets
import shutil
import subprocess
import sys

from tqdm import tqdm

import transformer_jax
from transformer_jax.config import Config, fields
from transformer_jax.errors import ConfigError, WorkdirError
from transformer_jax.interrupt import temporary_file
from transformer_jax.strict_json import json_text

# What a killed process, whose number it is, left of a file that it was replacing.
_LITTER = re.compile(r"\.(\d+)-[0-9a-f]{8}\.tmp")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Workdir:
  """The files of one run. Without `primary`, everything that writes does nothing."""

  def __init__(self, path, primary=True):
    self.path, self._primary = pathlib.Path(path), primary
    if "\0" in str(path):
      raise WorkdirError(ascii(str(path)), "holds a null character, which no path can",
                         "name another --workdir")
    self.tokenizer, self.checkpoints, self.evaluations, self.tensorboard = (
        self.path / name for name in ("tokenizer", "checkpoints", "evaluations", "tensorboard"))
    self._config, self._metrics, self._log = (self.path / name for name in ("config.json", "metrics.jsonl", "log.txt"))
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
        self.log(f"warning: {name} was {before[name]} and is {version}: results may differ in the last bits")
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
        raise WorkdirError(self._config, "is gone, and checkpoints are here",
                           "restore it; `train` with the run's settings does so, too") from None
      raise WorkdirError(self.path, "there is no run here (no config.json)",
                         "train first, or name another --workdir") from None
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
      _append(self._metrics, json_text(metrics) + "\n")

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
    return [json.loads(line) for number, line in enumerate(lines, 1) if self._step_of(line, number) >= 0]

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
    kept = b"".join(line + b"\n" for number, line in enumerate(lines, 1) if self._step_of(line, number) <= step)
    if kept != content:
      atomic_write(self._metrics, kept)

  def _step_of(self, line, number):
    try:
      step = json.loads(line)["step"]
      if type(step) is not int:
        raise TypeError
      return step
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
      raise WorkdirError(f"{self._metrics}:{number}", "is not a line of metrics", "restore or remove it") from None

  def log(self, message):
    """Says `message` on stderr, and writes it to log.txt with the time."""
    if not self._primary:
      return
    with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to stop
      tqdm.write(message, file=sys.stderr)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    _append(self._log, f"{now} {message}\n")


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
    if name not in settings and field.metadata["is_younger"]:
      settings[name] = field.default
    elif name not in settings:
      raise ConfigError(where, f"does not set {name}",
                        "add it, or use the package's version named there")
  for name in settings:
    if name not in fields():
      raise ConfigError(where, f"sets {name}, which is no setting",
                        "use the package's version named there")
  try:
    Config.from_flat(settings)
  except ConfigError as error:  # it names a flag, and no flag was given
    raise ConfigError(where, str(error), "restore the file") from None
  return settings


def atomic_write(path, content):
  """Replaces a file by `content` (str or bytes), whole or not at all.

  Raises:
    WorkdirError: the disk is full, or the folder not writable.
  """
  with _replacing(path) as file, as_workdir_error(path):
    file.write(content.encode("utf-8", errors="replace") if isinstance(content, str) else content)


@contextlib.contextmanager
def output_file(path=None):
  """A UTF-8 text file for output; None, "" or "-" is standard output.

  A file is replaced when the block has ended without an error, so it may be the input; a device or a pipe is written
  to directly. What has a name in .gz is packed. BrokenPipeError passes through, for the command to end quietly.

  Raises:
    WorkdirError: the output cannot be written.
  """
  if path in (None, "", "-"):
    if sys.stdout is None:
      raise WorkdirError("standard output", "is closed", "give --output")
    name, opened = "standard output", contextlib.nullcontext(getattr(sys.stdout, "buffer", sys.stdout))
  elif os.path.exists(path) and not os.path.isfile(path):
    with as_workdir_error(path):
      name, opened = path, _closing(open(path, "wb"))
  else:
    name, opened = path, _replacing(path)
  with opened as file, _packing(file, name) as file:
    output = _Output(file, name)
    yield output
    output.flush()


@contextlib.contextmanager
def _packing(file, name):
  """`file`, or, for a name in .gz, what packs into it: the same bytes for the same text."""
  if not str(name).endswith(".gz"):
    yield file
    return
  packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0)
  try:
    yield packed
  finally:
    with as_workdir_error(name):
      packed.close()


class _Output:
  """Text to UTF-8, whatever the locale, with failed writes as WorkdirErrors; closing is left to others."""

  def __init__(self, file, name):
    self._file, self._name = file, name

  def write(self, text):
    """Writes text as it is; lone surrogates become question marks."""
    with as_workdir_error(self._name):
      self._file.write(text if isinstance(self._file, io.TextIOBase) else text.encode("utf-8", errors="replace"))

  def flush(self):
    """Hands on what was written; what is packed stays together, for it would take more room in pieces."""
    if isinstance(self._file, gzip.GzipFile):
      return
    with as_workdir_error(self._name):
      self._file.flush()


def versions():
  """name -> version (None where not installed) of what computes, without importing it."""
  result = dict(python=platform.python_version(), transformer_jax=transformer_jax.__version__)
  for package in _PACKAGES:
    try:
      result[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      result[package] = None
  return result


def git_revision():
  """The commit this package is checked out at, with "-dirty" if files differ; None if it is not in a checkout."""
  folder = pathlib.Path(transformer_jax.__file__).parent
  run = dict(cwd=folder, capture_output=True, text=True, timeout=20, check=True)
  try:
    # A package installed inside some other repository is not tracked there.
    subprocess.run(["git", "ls-files", "--error-unmatch", "__init__.py"], **run)
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(describe, **run).stdout.strip()
  except (OSError, subprocess.SubprocessError):
    return None


@contextlib.contextmanager
def _replacing(path):
  """A binary file that takes the place of `path` once the block ends without an error; symbolic links stay links."""
  path = pathlib.Path(os.path.realpath(path))
  temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
  with temporary_file(temporary):
    yield from _written_beside(path, temporary)


def _written_beside(path, temporary):
  try:
    with as_workdir_error(path):
      file = open(temporary, "wb")
    with _closing(file):
      yield file  # what fails in the block is not known to be this file's fault
      with as_workdir_error(path):
        file.flush()
        os.fsync(file.fileno())
    with as_workdir_error(path):
      if path.exists():
        shutil.copymode(path, temporary)
      os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise


@contextlib.contextmanager
def _closing(file):
  """Closes a file that is flushed by then, or given up: close would try the failed write again."""
  try:
    yield file
  finally:
    with contextlib.suppress(OSError):
      file.close()


def _append(path, text):
  """Appends to a file and has the disk take it in."""
  with as_workdir_error(path), open(path, "ab") as file:
    file.write(text.encode("utf-8", errors="replace"))
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def as_workdir_error(path):
  """A context that turns a failed write inside it into a WorkdirError."""
  try:
    yield
  except BrokenPipeError:
    raise
  except OSError as error:
    raise WorkdirError(path, f"cannot be written: {error.strerror or error}",
                       f"{_remedy(error)}, then run the same command again") from None


def _remedy(error):
  """What helps against a failed write, an OSError."""
  if error.errno == errno.ENOENT and not _has_working_folder():
    return "this shell's working folder was deleted: change to one that is there"
  if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
                     errno.ELOOP):
    return "name another path"
  if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
    return "make the folder writable"
  return "free some space, or make the folder writable"


def _has_working_folder():
  try:
    return bool(os.getcwd())
  except OSError:
    return False
