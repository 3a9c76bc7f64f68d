"""`transformer-jax train`."""

from transformer_jax.config import split_list
from transformer_jax.errors import ConfigError

SETTINGS = dict(groups=("model", "data", "train", "decode"))


def declare(command):
  """The flags besides the configuration's."""
  command.declare_workdir()
  command.declare_data_root()
  command.declare(
    "on_corrupt",
    "refuse",
    "a damaged checkpoint: refuse it, or go back to the previous one",
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
    "several hosts: address of the first, host:port, or auto where the platform knows (TPU pods, Slurm)",
  )
  command.declare("num_processes", 1, "several hosts: how many processes")
  command.declare("process_id", 0, "several hosts: this process's number")
  command.declare(
    "profile_steps",
    "",
    "write a trace of these updates of this start, such as 10:20, and say where their time went",
  )
  command.declare(
    "inject_nonfinite",
    "",
    "for tests: updates of this start, counted from 1, whose gradients are made NaN",
    is_hidden=True,
  )


def run(command):
  """Trains or resumes."""
  config = command.config()
  workdir = command.required("workdir")
  hosts = _hosts(command)
  poisoned = split_list(command["inject_nonfinite"])
  if not all(item.isdecimal() for item in poisoned):
    raise ConfigError(
      f"--inject_nonfinite={command['inject_nonfinite']}", "is not a list of positive whole numbers"
    )
  profile_steps = _steps(command["profile_steps"])
  from transformer_jax.runs.train import train

  train(
    config,
    workdir,
    command["data_root"],
    on_corrupt=command["on_corrupt"],
    allow_device_change=command["allow_device_change"],
    hosts=hosts,
    inject_nonfinite=frozenset(map(int, poisoned)),
    profile_steps=profile_steps,
  )


def _hosts(command):
  """(coordinator, number of processes, this one's number), or None for a single process."""
  coordinator, count, number = (
    command["coordinator"],
    command.at_least("num_processes", 1),
    command.at_least("process_id", 0),
  )
  if not coordinator:
    if count > 1:
      raise ConfigError(
        "--coordinator",
        f"is missing, and --num_processes={count}",
        "give the first process's host:port, or auto",
      )
    if number:
      raise ConfigError(
        f"--process_id={number}",
        "counts processes, and there is one",
        "give --num_processes and --coordinator, or leave it out",
      )
    return None
  host, _, port = coordinator.rpartition(":")
  if coordinator != "auto" and not (host and port.isdecimal() and int(port) < 1 << 16):
    raise ConfigError(
      f"--coordinator={coordinator}", "is neither host:port nor auto", "such as node1:12345"
    )
  if number >= count:
    raise ConfigError(
      f"--process_id={number}", f"is not below --num_processes={count}", "processes count from 0"
    )
  return coordinator, count, number


def _steps(text):
  """(first, last) of "10:20", None where nothing is given."""
  first, _, last = text.partition(":")
  if text and not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
    raise ConfigError(
      f"--profile_steps={text}",
      "is no range of updates",
      "such as 10:20; they count from this start's first update",
    )
  return (int(first), int(last)) if text else None
