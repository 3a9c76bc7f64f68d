"""absl flags from the configuration's fields, parsed strictly. The only file that defines or reads flags."""

import difflib
import os
import re
import textwrap

from absl import flags

from transformer_jax import config
from transformer_jax.cli.flag_files import expand
from transformer_jax.errors import ConfigError, TransformerJaxError

_DEFINE = {
  bool: flags.DEFINE_boolean,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}
_WRONG = {bool: "is neither true nor false", int: "is not a whole number", float: "is not a number"}


class Command:
  """The flags of one command. Its values are there after `parse`.

  Args:
    summary: what the command does, for --help.
    groups: which groups of the configuration are flags ("model", "data", "train", "decode").
    overrides: True: a flag that is not given is None, and the run's own setting stays.
  """

  def __init__(self, name, summary, groups=(), overrides=False):
    self.name, self.summary = name, summary
    self._values = flags.FlagValues()
    self._sections = {name: []}
    self._settings, self._origins, self._kinds, self._paths = [], {}, {}, set()
    for group in groups:
      self._sections[group] = []
      for field in config.fields().values():
        if field.name in config.groups()[group].__dataclass_fields__:
          self._define(
            group,
            field.name,
            field.type,
            None if overrides else field.default,
            field.metadata["help"],
            field.metadata["choices"],
          )
          self._settings.append(field.name)
          if field.name in config.PATHS:
            self._paths.add(field.name)

  def declare(self, name, default, help_text, choices=None, kind=None, is_hidden=False):
    """Declares a flag of the command itself; `kind` is needed where the default is None. A hidden one is not in --help."""
    self._define(
      None if is_hidden else self.name, name, kind or type(default), default, help_text, choices
    )

  def declare_path(self, name, help_text, default=""):
    """Declares a flag that names a file or a folder: a ~ at its beginning is the home."""
    self.declare(name, default, help_text)
    self._paths.add(name)

  def declare_data_root(self):
    """Declares --data_root."""
    self.declare_path(
      "data_root",
      "folder that relative data paths start from (default: $TRANSFORMER_JAX_DATA, or this folder)",
      os.path.expanduser(os.environ.get("TRANSFORMER_JAX_DATA", ".")),
    )

  def declare_workdir(self):
    """Declares --workdir."""
    self.declare_path("workdir", "folder of the run")

  def declare_checkpoint(self):
    """Declares --checkpoint, and --step, its older form."""
    self.declare(
      "checkpoint",
      "last",
      "checkpoint to use: last, best (highest validation score of those kept) or a step; with "
      "--average_last=K, the average of the last K up to it",
    )
    self.declare("step", None, "the same as --checkpoint=STEP", kind=int)

  def checkpoint(self) -> int | str:
    """Returns the value of --checkpoint: "best", "last" or a step.

    Raises:
      ConfigError: it is something else, or --step names another one.
    """
    name = self["checkpoint"]
    step = self["step"]
    if step is not None:
      if name not in ("last", str(step)):
        raise ConfigError(f"--step={step}", f"--checkpoint={name} names another", "leave one out")
      return step
    if name in ("best", "last"):
      return name
    if not (name.isascii() and name.isdecimal()):
      raise ConfigError(
        f"--checkpoint={name}", "is not a checkpoint", "give best, last or a step, such as 100000"
      )
    return int(name)

  def parse(self, arguments):
    """Reads the command line and its flag files.

    Raises:
      ConfigError: an unknown flag, a value of the wrong type, a left-over argument; names flag, file and line.
    """
    pending = None
    for text, where in expand(arguments):
      if pending is not None:
        self._set(pending, text, where)
        pending = None
      elif text == "--":
        raise ConfigError("--", "there are no arguments but flags")
      elif not text.startswith("-") or text == "-":
        raise ConfigError(
          where or f"'{text}'",
          "is not a flag",
          f"flags are --name=value; see transformer-jax {self.name} --help",
        )
      else:
        name, equals, value = text.lstrip("-").partition("=")
        name = name.replace("-", "_")
        is_boolean, negated = (
          self._is_boolean(name),
          name.startswith("no") and self._is_boolean(name[2:]),
        )
        if name not in self._values and not negated:
          raise self._unknown(name, where)
        if equals and not is_boolean and negated:
          raise ConfigError(
            f"{where} --{name}" if where else f"--{name}",
            "takes no value",
            f"write --{name} or --{name[2:]}=false",
          )
        if equals:
          self._set(name, value, where)
        elif is_boolean or negated:
          self._set(name if is_boolean else name[2:], "true" if is_boolean else "false", where)
        elif where:
          raise ConfigError(f"{where} --{name}", "has no value", f"write --{name}=VALUE")
        else:
          pending = name
    if pending is not None:
      raise ConfigError(f"--{pending}", "has no value", f"write --{pending}=VALUE")
    self._values.mark_as_parsed()

  def __getitem__(self, name):
    """The value of a flag."""
    return self._values[name].value

  def required(self, *names):
    """The values of flags that must not be empty.

    Raises:
      ConfigError: one is.
    """
    for name in names:
      if not self._values[name].value:
        raise ConfigError(
          f"--{name}", "is missing", f"transformer-jax {self.name} needs it; see --help"
        )
    values = [self._values[name].value for name in names]
    return values if len(values) > 1 else values[0]

  def workdir_of_a_run(self) -> str:
    """--workdir, once its config.json has been read: what is wrong is told before jax is loaded.

    Raises:
      ConfigError: the flag is missing, or the run's settings are damaged.
      WorkdirError: there is no run.
    """
    workdir = self.required("workdir")
    from transformer_jax.workdir.folder import Workdir

    Workdir(workdir, primary=False).read_config()
    return workdir

  def at_least(self, name, low):
    """The value of a number's flag.

    Raises:
      ConfigError: it is below `low`.
    """
    value = self._values[name].value
    if value < low:
      raise ConfigError(f"--{name}", f"{value} is too small", f"at least {low}")
    return value

  def settings(self):
    """The configuration's flags, name -> value; those that are None are left out."""
    return {
      name: value for name in self._settings if (value := self._values[name].value) is not None
    }

  def config(self):
    """The checked Config."""
    with self.naming_origins():
      result = config.Config.from_flat(self.settings())
      config.check_sums(result)
      return result

  def naming_origins(self):
    """A context in which an error about a flag also says in which line of a flag file it was set."""
    return _NamingOrigins(self._origins)

  def help(self):
    """The text of --help."""
    lines = [
      f"transformer-jax {self.name}: {self.summary}",
      "",
      "  --flagfile=FILE: flags from a file, one a line",
    ]
    for section, names in self._sections.items():
      if names:
        lines += ["", "flags:" if section == self.name else f"{section} settings:"]
        lines += [line for name in names for line in self._help_of(name)]
    return "\n".join(lines)

  def _help_of(self, name):
    flag = self._values[name]
    default = "" if flag.default in (None, "") else f" [{flag.default}]"
    return [
      f"  --{name}{default}",
      *textwrap.wrap(flag.help, 110, initial_indent="      ", subsequent_indent="      "),
    ]

  def _define(self, section, name, kind, default, help_text, choices):
    if section is not None:
      self._sections[section].append(name)
    self._kinds[name] = kind
    if choices:
      flags.DEFINE_enum(name, default, list(choices), help_text, flag_values=self._values)
    else:
      _DEFINE[kind](name, default, help_text, flag_values=self._values)

  def _is_boolean(self, name):
    return name in self._values and self._values[name].boolean

  def _set(self, name, value, where):
    at = f"{where} --{name}" if where else f"--{name}"
    if "\0" in value or (not value.isprintable() and any(0xD800 <= ord(c) < 0xE000 for c in value)):
      raise ConfigError(at, "has a NUL or bytes that are not UTF-8", "write the value as text")
    try:
      self._values[name].parse(_from_home(value) if name in self._paths else value)
    except flags.IllegalFlagValueError as error:
      reason = _WRONG.get(self._kinds[name]) or str(error).partition(": ")[2] or str(error)
      remedy = "write true or false" if self._is_boolean(name) else ""
      raise ConfigError(f"{at}={value}", reason, remedy) from None
    self._origins[name] = where

  def _unknown(self, name, where):
    near = difflib.get_close_matches(name, list(self._values), 1)
    remedy = f"did you mean --{near[0]}?" if near else f"see transformer-jax {self.name} --help"
    return ConfigError(
      f"{where} --{name}" if where else f"--{name}", f"{self.name} has no such flag", remedy
    )


def _from_home(text):
  """A path, or several with commas between, with ~ and ~user at a beginning replaced by that home."""
  return re.sub(r"(^|,\s*)(~[^,/]*)", lambda at: at[1] + os.path.expanduser(at[2]), text)


class _NamingOrigins:
  def __init__(self, origins):
    self._origins = origins

  def __enter__(self):
    return self

  def __exit__(self, _, error, __):
    if not isinstance(error, TransformerJaxError) or not error.where.startswith("--"):
      return
    where = self._origins.get(error.where[2:].partition("=")[0])
    if where:
      raise type(error)(f"{where} {error.where}", error.problem, error.remedy) from None
