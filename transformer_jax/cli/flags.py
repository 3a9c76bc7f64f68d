"""absl flags from the fields of the configuration, parsed strictly.

No other file defines or reads flags.
"""

import contextlib
import difflib
import os
import pathlib
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from transformer_jax.cli.experiment_files import data_note
from transformer_jax.cli.flag_files import expand
from transformer_jax.config import (
  PATHS,
  Config,
  check_kept,
  check_sums,
  default_settings,
  fields,
  groups,
  whole_number,
)
from transformer_jax.errors import ConfigError, MissingDataError, TransformerJaxError

_DEFINE: dict[type, Callable[..., Any]] = {
  bool: flags.DEFINE_boolean,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}
_WRONG = {bool: "is neither true nor false", int: "is not a whole number", float: "is not a number"}
_HELP_WIDTH = 110


class Command:
  """The flags of one command. `command["name"]` is a flag's value once `parse` has read them.

  Args:
    name: the command.
    summary: what the command does, for --help.
    groups: groups of the configuration that are flags: "model", "data", "train", "decode".
    only: the settings of these groups that are flags; by default all.
    overrides: a flag that is not given is None, so that the run's own setting stays.
  """

  name: str
  summary: str

  def __init__(
    self,
    name: str,
    summary: str,
    groups: Iterable[str] = (),
    only: Collection[str] | None = None,
    overrides: bool = False,
  ) -> None:
    self.name = name
    self.summary = summary
    self._values = flags.FlagValues()
    self._sections: dict[str, list[str]] = {name: []}  # of --help: title -> flags
    self._kinds: dict[str, type] = {}
    self._settings: list[str] = []  # the flags of the configuration
    self._paths: set[str] = set()  # the flags that name files
    self._origins: dict[str, str] = {}  # flag -> "file:line" that set it, "" for the command line
    self._argument = ""  # the flag that may be given without its name
    for group in groups:
      self._declare_group(group, only, overrides)

  def _declare_group(self, group: str, only: Collection[str] | None, overrides: bool) -> None:
    self._sections[group] = []
    names = groups()[group].__dataclass_fields__
    for field in fields().values():
      if field.name not in names or (only is not None and field.name not in only):
        continue
      self._define(
        field.name,
        None if overrides else field.default,
        field.metadata["help"],
        kind=field.type,
        choices=field.metadata["choices"],
        section=group,
      )
      self._settings.append(field.name)
      if field.name in PATHS:
        self._paths.add(field.name)

  def declare(
    self,
    name: str,
    default: Any,
    help_text: str,
    choices: Sequence[str] | None = None,
    kind: type | None = None,
  ) -> None:
    """Declares a flag of the command itself.

    Args:
      name: the flag.
      default: its value if it is not given.
      help_text: its lines in --help.
      choices: the values allowed; None: all.
      kind: its type; needed only if the default is None.
    """
    kind = kind or type(default)
    self._define(name, default, help_text, kind=kind, choices=choices, section=self.name)

  def declare_path(self, name: str, help_text: str, default: str = "") -> None:
    """Declares a flag that names a file or a folder: a ~ at its beginning is the home."""
    self.declare(name, default, help_text)
    self._paths.add(name)

  def declare_argument(self, name: str, help_text: str) -> None:
    """Declares a text that may be given without --NAME=."""
    self.declare(name, "", help_text)
    self._argument = name

  def declare_data_root(self) -> None:
    """Declares --data_root."""
    self.declare_path(
      "data_root",
      "folder that relative data paths start from; default: $TRANSFORMER_JAX_DATA, or the current "
      "folder",
      os.path.expanduser(os.environ.get("TRANSFORMER_JAX_DATA", ".")),
    )

  def declare_check_data(self) -> None:
    """Declares --check_data."""
    self.declare(
      "check_data",
      False,
      "read text and encoded data again and compare checksums; by default this is done only if the "
      "size or the time of change of a file is another than before",
    )

  def declare_workdir(self) -> None:
    """Declares --workdir."""
    self.declare_path("workdir", "folder of the run")

  def declare_checkpoint(self) -> None:
    """Declares --checkpoint, and --step, its older form."""
    self.declare(
      "checkpoint",
      "last",
      "checkpoint to use: last, best (the highest validation score of those kept) or a step; with "
      "--average_last=K, the average of the last K up to it",
    )
    self.declare("step", None, "the same as --checkpoint=STEP", kind=int)

  def declare_ensemble(self) -> None:
    """Declares --ensemble."""
    self.declare_path(
      "ensemble",
      "workdirs of other runs with the same tokenizer, comma-separated: each next token's "
      "probability is the mean of those of all runs, --workdir among them",
    )

  def ensemble(self) -> str:
    """Returns --ensemble, after it has read each run's config.json.

    Raises:
      ConfigError, WorkdirError: one is no run; names it.
    """
    from transformer_jax.config import split_list
    from transformer_jax.workdir.folder import Workdir

    for workdir in split_list(self["ensemble"]):
      Workdir(workdir, primary=False).read_config()
    return self["ensemble"]

  def checkpoint(self) -> int | str:
    """Returns the requested checkpoint: "best", "last" or a step.

    Raises:
      ConfigError: --checkpoint has another value, or --step names another checkpoint.
    """
    name = self["checkpoint"]
    step = self["step"]
    if step is not None:
      if name not in ("last", str(step)):
        raise ConfigError(f"--step={step}", f"--checkpoint={name} names another", "leave one out")
      return step
    if name in ("best", "last"):
      return name
    if (number := whole_number(name)) is None:
      raise ConfigError(
        f"--checkpoint={name}", "is not a checkpoint", "give best, last or a step, such as 100000"
      )
    return number

  def parse(self, arguments: Iterable[str]) -> None:
    """Reads the command line and its flag files.

    Raises:
      ConfigError: a flag is unknown, a value is of the wrong type, or an argument is not a flag.
        The error names flag, file and line.
    """
    pending = None  # a flag whose value is the next argument
    for text, where in expand(arguments):
      if pending is None:
        pending = self._read(text, where)
      else:
        self._set(pending, text, where)
        pending = None
    if pending is not None:
      raise ConfigError(f"--{pending}", "has no value", f"write --{pending}=VALUE")
    self._values.mark_as_parsed()

  def _read(self, text: str, where: str) -> str | None:
    """Reads one argument. Returns the flag if its value must follow as the next argument."""
    if text == "--":
      raise ConfigError("--", "is not a flag", "flags are --name=value")
    if not text.startswith("-") or text == "-":
      if self._argument and self._argument not in self._origins and not where:
        self._set(self._argument, text, where)
        return None
      raise ConfigError(
        where or f"'{text}'",
        "is not a flag",
        f"flags are --name=value; see transformer-jax {self.name} --help",
      )
    given_name, equals, value = text.lstrip("-").partition("=")
    name = given_name.replace("-", "_")
    is_boolean = self._is_boolean(name)
    is_negation = not is_boolean and name.startswith("no") and self._is_boolean(name[2:])
    if name not in self._values and not is_negation:
      raise self._unknown(name, where)
    if equals and is_negation:
      remedy = f"write --{name} or --{name[2:]}=false"
      raise ConfigError(_place(name, where), "takes no value", remedy)
    if equals:
      self._set(name, value, where)
    elif is_boolean:
      self._set(name, "true", where)
    elif is_negation:
      self._set(name[2:], "false", where)
    elif where:
      raise ConfigError(_place(name, where), "has no value", f"write --{name}=VALUE")
    else:
      return name
    return None

  def __getitem__(self, name: str) -> Any:
    """Returns the value of a flag."""
    return self._values[name].value

  def is_given(self, name: str) -> bool:
    """Returns whether the command line or a flag file sets a flag."""
    return name in self._origins

  def given(self) -> dict[str, Any]:
    """Returns name -> value of the flags that the command line or a flag file sets."""
    return {name: self[name] for name in self._origins}

  def required(self, name: str) -> str:
    """Returns the value of a flag that must not be empty.

    Raises:
      ConfigError: it is empty.
    """
    value = self[name]
    if not value:
      raise ConfigError(
        f"--{name}", "is missing", f"transformer-jax {self.name} needs it; see --help"
      )
    return value

  def workdir_of_a_run(self) -> str:
    """Returns --workdir, and reads its config.json, so that errors in it come before jax is loaded.

    Raises:
      ConfigError: the flag is missing, or the run's settings are damaged.
      WorkdirError: there is no run.
    """
    workdir = self.required("workdir")
    from transformer_jax.workdir.folder import Workdir

    Workdir(workdir, primary=False).read_config()
    return workdir

  def at_least(self, name: str, low: int) -> int:
    """Returns the value of a number's flag.

    Raises:
      ConfigError: it is below `low`, or beyond 31 bits.
    """
    value = self[name]
    if value < low:
      raise ConfigError(f"--{name}", f"{value} is too small", f"at least {low}")
    if value >= 2**31:
      raise ConfigError(f"--{name}", f"{value} is too large", f"at most {2**31 - 1}")
    return value

  def settings(self) -> dict[str, Any]:
    """Returns name -> value of the configuration's flags, without those that are None."""
    values = {name: self[name] for name in self._settings}
    return {name: value for name, value in values.items() if value is not None}

  def config(self, workdir: str = "") -> Config:
    """Returns the checked Config.

    With --init_from, settings of the model and the tokenizer that are not given are those of the
    run that the flag names.

    Args:
      workdir: if it holds a run already, that run's settings are taken, and --init_from is not
        read.
    """
    with self.naming_origins():
      if "init_from" in self._settings and self["init_from"]:
        result = self._config_with_kept(workdir)
      else:
        result = Config.from_flat(self.settings())
      check_sums(result)
      return result

  def _config_with_kept(self, workdir: str) -> Config:
    from transformer_jax.workdir.folder import Workdir, source_settings

    started = Workdir(workdir, primary=False) if workdir else None
    if started and started.has_config():
      return self._completed(started.read_config())
    source = source_settings(self["init_from"])
    result = self._completed(source)
    check_kept(result, source, self["init_from"])
    return result

  def _completed(self, source: Mapping[str, Any]) -> Config:
    """Returns the Config of the flags; a run's settings stand in for flags that are not given."""
    defaults = default_settings(source)
    missing = {name: value for name, value in defaults.items() if name not in self._origins}
    return Config.from_flat({**self.settings(), **missing})

  @contextlib.contextmanager
  def naming_origins(self) -> Iterator[None]:
    """Adds to an error about a flag the line of the flag file that set it.

    If data is missing, it also adds how to get it, as the header of the file says.
    """
    try:
      yield
    except TransformerJaxError as error:
      name = error.where.removeprefix("--").partition("=")[0]
      if error.where.startswith("--") and self._origins.get(name):
        where = f"{self._origins[name]} {error.where}"
        remedy = error.remedy
        if isinstance(error, MissingDataError) and (note := self._data_note(name)):
          remedy += f"; the header of the flag file says: {note}"
        raise type(error)(where, error.problem, remedy) from None
      raise

  def _data_note(self, name: str) -> str:
    """Returns the note on data of the file that set a flag, or else of another flag file."""
    places = [self._origins[name], *self._origins.values()]
    files = dict.fromkeys(place.rpartition(":")[0] for place in places if place)
    return next(filter(None, (data_note(pathlib.Path(file)) for file in files)), "")

  def help(self) -> str:
    """Returns the text of --help."""
    lines = [
      f"transformer-jax {self.name}: {self.summary}",
      "",
      "  --flagfile=FILE: flags from a file, one a line",
    ]
    for section, names in self._sections.items():
      if names:
        lines += ["", "flags:" if section == self.name else f"{section} settings:"]
        for name in names:
          lines += self._help_of(name)
    return "\n".join(lines)

  def _help_of(self, name: str) -> list[str]:
    flag = self._values[name]
    default = "" if flag.default in (None, "") else f" [{flag.default}]"
    indent = " " * 6
    text = textwrap.wrap(
      flag.help or "", _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent
    )
    return [f"  --{name}{default}", *text]

  def _define(
    self,
    name: str,
    default: Any,
    help_text: str,
    *,
    kind: Any,
    choices: Sequence[str] | None,
    section: str,
  ) -> None:
    self._sections[section].append(name)
    self._kinds[name] = kind
    if choices:
      flags.DEFINE_enum(name, default, list(choices), help_text, flag_values=self._values)
    else:
      _DEFINE[kind](name, default, help_text, flag_values=self._values)

  def _is_boolean(self, name: str) -> bool:
    return name in self._values and self._values[name].boolean

  def _set(self, name: str, value: str, where: str) -> None:
    place = _place(name, where)
    if "\0" in value or _has_surrogates(value):
      raise ConfigError(place, "has a NUL or bytes that are not UTF-8", "write the value as text")
    if name in self._paths:
      value = _from_home(value)
    try:
      self._values[name].parse(value)
    except flags.IllegalFlagValueError as error:
      reason = _WRONG.get(self._kinds[name]) or str(error).partition(": ")[2] or str(error)
      remedy = "write true or false" if self._is_boolean(name) else ""
      raise ConfigError(f"{place}={value}", reason, remedy) from None
    self._origins[name] = where

  def _unknown(self, name: str, where: str) -> ConfigError:
    """Returns the error for a flag that does not exist."""
    remedy = f"see transformer-jax {self.name} --help"
    if near := difflib.get_close_matches(name, list(self._values), 1):
      remedy = f"did you mean --{near[0]}?"
    return ConfigError(_place(name, where), f"{self.name} has no such flag", remedy)


def _place(name: str, where: str) -> str:
  """Returns a flag as an error names it: with the file and line, if it is in a flag file."""
  return f"{where} --{name}" if where else f"--{name}"


def _has_surrogates(text: str) -> bool:
  """Returns True if a value has surrogates: Python keeps bytes that are not UTF-8 as these."""
  return any(0xD800 <= ord(character) < 0xE000 for character in text)


def _from_home(text: str) -> str:
  """Returns a path, or several with commas between, with each leading ~ or ~user replaced."""
  return re.sub(r"(^|,\s*)(~[^,/]*)", lambda at: at[1] + os.path.expanduser(at[2]), text)
