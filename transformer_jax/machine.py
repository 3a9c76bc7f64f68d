"""The machine: its name, its free memory, and how its C library keeps memory (floor 1)."""

import contextlib
import ctypes
import os
import pathlib
import platform
from typing import Any

# glibc's names for what `mallopt` sets.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def hardware() -> dict[str, Any]:
  """Returns the names of the devices and the processor and the number of cores, for JSON.

  `usable_cores` are those that the process may run on: `taskset` and a cluster's jobs leave fewer.
  """
  import jax  # noqa: PLC0415 (processes that only count cores do without it)

  return dict(
    device=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    processor=processor(),
    cores=os.cpu_count(),
    usable_cores=usable_cores(),
  )


def usable_cores() -> int | None:
  """Returns the number of cores that this process may run on, if it is known."""
  if hasattr(os, "sched_getaffinity"):  # not on macOS
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def processor() -> str:
  """Returns the processor's name."""
  with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
    for line in file:
      if line.startswith("model name"):
        return line.partition(": ")[2].strip()
  return platform.processor() or platform.machine()


def available_memory() -> int | None:
  """Returns the bytes that a process can still allocate, or None if they are unknown.

  That is the machine's free memory, or less if the container's limit leaves less.
  """
  known = [size for size in (_left_on_machine(), _left_in_container()) if size is not None]
  return min(known, default=None)


def _left_on_machine() -> int | None:
  with contextlib.suppress(OSError, ValueError):
    for line in pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
      if line.startswith("MemAvailable:"):
        return 1024 * int(line.split()[1])
  return None


def _left_in_container(folder: pathlib.Path = _CGROUP) -> int | None:
  with contextlib.suppress(OSError, ValueError):  # there is no limit, or it is "max"
    limit = int((folder / "memory.max").read_text(encoding="ascii"))
    used = int((folder / "memory.current").read_text(encoding="ascii"))
    lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    statistics = dict(line.split() for line in lines)
    return limit - used + int(statistics["inactive_file"])
  return None


def return_freed_memory() -> None:
  """Gives memory that is free back to the system; does nothing without glibc."""
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
  """Makes glibc keep freed memory for the next update's arrays; does nothing without glibc.

  Otherwise glibc returns it to the system and takes zeroed pages for the next update, which cost a
  fifth of the processor time of an update on two cores. It must be called before the backend
  starts its threads: a thread that already has an arena of its own goes on returning its memory.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):
    return
  mallopt(_M_MMAP_MAX, 0)
  mallopt(_M_TRIM_THRESHOLD, -1)
  mallopt(_M_TOP_PAD, 1 << 28)
  mallopt(_M_ARENA_MAX, 1)
