"""`transformer-jax train`."""

import pathlib
from typing import Any

from transformer_jax.cli.flags import Command
from transformer_jax.config import whole_number
from transformer_jax.errors import ConfigError
from transformer_jax.roll_call import START_TIMEOUT, Place

SETTINGS: dict[str, Any] = dict(groups=("model", "data", "train", "decode"))

_NUM_PORTS = 1 << 16


def declare(command: Command) -> None:
  """Declares the flags other than the configuration's."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare_check_data()
  command.declare(
    "on_corrupt",
    "refuse",
    "what to do with a damaged checkpoint: refuse it, or go back to the previous one",
    ["refuse", "previous"],
  )
  command.declare(
    "allow_device_change",
    False,
    "resume on another number of devices; dropout then differs from an uninterrupted run",
  )
  command.declare(
    "coordinator",
    "",
    "several hosts: address of the first one, host:port, or auto where the platform knows it "
    "(Slurm, Open MPI, TPU pods)",
  )
  command.declare("num_processes", 1, "several hosts: number of processes")
  command.declare("process_id", 0, "several hosts: number of this process, from 0")
  command.declare(
    "start_timeout", START_TIMEOUT, "several hosts: seconds to wait until all processes are there"
  )
  command.declare(
    "profile_steps",
    "",
    "write a trace of these updates, such as 10:20, counted from this start, and report where "
    "their time went",
  )


def command_of(flag_file: pathlib.Path, named_by: str) -> Command:
  """Returns the command with the flags of a flag file.

  Args:
    flag_file: its path.
    named_by: the flag or file that names it, for the error if it cannot be read.

  Raises:
    ConfigError: the file is wrong.
  """
  command = Command("train", "", **SETTINGS)
  declare(command)
  try:
    command.parse([f"--flagfile={flag_file}"])
  except ConfigError as error:
    if error.where != "--flagfile":
      raise
    raise ConfigError(named_by, error.problem, error.remedy) from None
  return command


def run(command: Command) -> None:
  """Trains or resumes."""
  config = command.config(command["workdir"])
  workdir = command.required("workdir")
  place = _place(command)
  profile_steps = _profile_steps(command["profile_steps"])
  from transformer_jax.runs.train import train

  train(
    config,
    workdir,
    command["data_root"],
    on_corrupt=command["on_corrupt"],
    allow_device_change=command["allow_device_change"],
    place=place,
    profile_steps=profile_steps,
    check_data=command["check_data"],
  )


def _place(command: Command) -> Place | None:
  """Returns the process's place among those of the run; None for a single process."""
  coordinator = command["coordinator"]
  count = command.at_least("num_processes", 1)
  number = command.at_least("process_id", 0)
  start_timeout = command.at_least("start_timeout", 1)
  if not coordinator:
    _check_single(count, number)
    return None
  if coordinator != "auto" and not _is_address(coordinator):
    raise ConfigError(
      f"--coordinator={coordinator}", "is neither host:port nor auto", "such as node1:12345"
    )
  if number >= count:
    raise ConfigError(
      f"--process_id={number}", f"is not below --num_processes={count}", "processes count from 0"
    )
  return Place(coordinator, count, number, start_timeout)


def _check_single(count: int, number: int) -> None:
  """Refuses flags for several processes if there is no coordinator."""
  if count > 1:
    raise ConfigError(
      "--coordinator",
      f"is missing, but --num_processes={count}",
      "give the first process's host:port, or auto",
    )
  if number:
    raise ConfigError(
      f"--process_id={number}",
      "is for several processes, but there is one",
      "give --num_processes and --coordinator, or leave it out",
    )


def _is_address(text: str) -> bool:
  host, _, port = text.rpartition(":")
  return bool(host) and 0 < (whole_number(port) or 0) < _NUM_PORTS


def _profile_steps(text: str) -> tuple[int, int] | None:
  """Returns (first, last) for "10:20", None for ""."""
  if not text:
    return None
  first, _, last = text.partition(":")
  begin, end = whole_number(first), whole_number(last)
  if begin is None or end is None or not 1 <= begin <= end:
    raise ConfigError(
      f"--profile_steps={text}",
      "is not a range of updates",
      "such as 10:20; they count from this start's first update",
    )
  return begin, end
